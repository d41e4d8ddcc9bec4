// SPDX-License-Identifier: Apache-2.0
// The techniques that findings name, each once: MITRE ATLAS 5.6 and ATT&CK.
#pragma once

#include "agent/event/finding.h"

namespace moat::detect::technique {

using event::Technique;

inline constexpr Technique kDiscoverArtifacts = {"AML.T0007", "Discover AI Artifacts"};
inline constexpr Technique kUserExecution = {"AML.T0011.000", "User Execution: Unsafe AI Artifacts"};
inline constexpr Technique kValidAccounts = {"AML.T0012", "Valid Accounts"};
inline constexpr Technique kManipulateModel = {"AML.T0018", "Manipulate AI Model"};
inline constexpr Technique kExfiltration = {"AML.T0025", "Exfiltration via Cyber Means"};
inline constexpr Technique kDenialOfService = {"AML.T0029", "Denial of AI Service"};
inline constexpr Technique kCollection = {"AML.T0035", "AI Artifact Collection"};
inline constexpr Technique kFullAccess = {"AML.T0044", "Full AI Model Access"};
inline constexpr Technique kPropertyTheft = {"AML.T0048.004", "External Harms: AI Intellectual Property Theft"};
inline constexpr Technique kInterpreter = {"AML.T0050", "Command and Scripting Interpreter"};
inline constexpr Technique kReverseShell = {"AML.T0072", "Reverse Shell"};
inline constexpr Technique kCloudDiscovery = {"AML.T0075", "Cloud Service Discovery"};
inline constexpr Technique kCorruptModel = {"AML.T0076", "Corrupt AI Model"};
inline constexpr Technique kHostEscape = {"AML.T0105", "Escape to Host"};
inline constexpr Technique kDefenseEvasion = {"AML.T0107", "Exploitation for Defense Evasion"};

inline constexpr Technique kDataFromSystem = {"T1005", "Data from Local System"};
inline constexpr Technique kRemoteDiscovery = {"T1018", "Remote System Discovery"};
inline constexpr Technique kRemoteServices = {"T1021", "Remote Services"};
inline constexpr Technique kProtocolExfiltration = {"T1048", "Exfiltration Over Alternative Protocol"};
inline constexpr Technique kServiceDiscovery = {"T1046", "Network Service Discovery"};
inline constexpr Technique kInjection = {"T1055", "Process Injection"};
inline constexpr Technique kUnixShell = {"T1059.004", "Command and Scripting Interpreter: Unix Shell"};
inline constexpr Technique kBruteForce = {"T1110", "Brute Force"};
inline constexpr Technique kPasswordSpraying = {"T1110.003", "Brute Force: Password Spraying"};
inline constexpr Technique kKernelModules = {"T1547.006", "Boot or Logon Autostart Execution: Kernel Modules and Extensions"};
inline constexpr Technique kLinkerHijacking = {"T1574.006", "Hijack Execution Flow: Dynamic Linker Hijacking"};
inline constexpr Technique kDns = {"T1071.004", "Application Layer Protocol: DNS"};
inline constexpr Technique kHijacking = {"T1496", "Resource Hijacking"};
inline constexpr Technique kMetadataApi = {"T1552.005", "Unsecured Credentials: Cloud Instance Metadata API"};
inline constexpr Technique kArchive = {"T1560", "Archive Collected Data"};
inline constexpr Technique kImpairDefenses = {"T1562", "Impair Defenses"};
inline constexpr Technique kImpairTools = {"T1562.001", "Impair Defenses: Disable or Modify Tools"};
inline constexpr Technique kContainerAdministration = {"T1609", "Container Administration Command"};
inline constexpr Technique kEscapeToHost = {"T1611", "Escape to Host"};
inline constexpr Technique kReflective = {"T1620", "Reflective Code Loading"};

}  // namespace moat::detect::technique
