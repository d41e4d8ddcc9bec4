// SPDX-License-Identifier: Apache-2.0
// Completion scripts, made from the parsed command line itself: an option that is added shows up by itself.
#include <string>
#include <string_view>
#include <vector>

#include "agent/cli/event_text.h"
#include "agent/cli/options.h"
#include "moat/v1/event.pb.h"

namespace moat::cli {

namespace {

std::string Kinds() {
  std::string words = "process file gpu net";
  for (int kind = v1::Kind_MIN + 1; kind <= v1::Kind_MAX; ++kind) {
    if (v1::Kind_IsValid(kind)) {
      words += " " + KindName(kind);
    }
  }
  return words;
}

// Values that are known beforehand; "" for others.
std::string Values(const std::string& option) {
  if (option == "--kind") {
    return Kinds();
  }
  if (option == "--color") {
    return "auto always never";
  }
  if (option == "--output") {
    return "human json none";
  }
  if (option == "--since") {
    return "oldest";
  }
  if (option == "--gpu-call") {
    return "debug profile foreign-memory export reconfigure internal raw-access";
  }
  if (option == "--operation") {
    return "read write map exec";
  }
  return "";
}

// Of a command: its subcommands.
std::string Words(const CommandWords& command) {
  std::string words;
  for (const std::string& word : command.words) {
    words += (words.empty() ? "" : " ") + word;
  }
  return words;
}

std::string Names(const std::vector<CommandWords>& commands) {
  std::string names;
  for (const auto& command : commands) {
    names += command.name.empty() ? "" : (names.empty() ? "" : " ") + command.name;
  }
  return names;
}

// Each of these characters gets a backslash.
std::string Escaped(const std::string& text, std::string_view which) {
  std::string out;
  for (char c : text) {
    if (which.find(c) != std::string_view::npos) {
      out += '\\';
    }
    out += c;
  }
  return out;
}

// A word inside single quotes.
std::string Quoted(const std::string& text) {
  std::string out = "'";
  for (char c : text) {
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return out + "'";
}

std::string Bash(const std::vector<CommandWords>& commands) {
  std::string text =
      "# bash completion for moatctl: moatctl completion bash > /etc/bash_completion.d/moatctl\n"
      "_moatctl() {\n"
      "  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command= i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case ${COMP_WORDS[i]} in " +
      [&] {
        std::string alternatives = Names(commands);
        for (char& c : alternatives) {
          c = c == ' ' ? '|' : c;
        }
        return alternatives;
      }() +
      ") command=${COMP_WORDS[i]}; break;; esac\n"
      "  done\n"
      "  case $before in\n";
  for (const char* option : {"--kind", "--color", "--output", "--since", "--gpu-call", "--operation"}) {
    text += std::string("    ") + option + (option == std::string("--output") ? "|-o" : "") + ") COMPREPLY=($(compgen -W '" +
            Values(option) + "' -- \"$word\")); return;;\n";
  }
  text += "  esac\n  case $command in\n";
  for (const auto& command : commands) {
    std::string words = command.name.empty() ? Names(commands) : command.name == "completion" ? "bash zsh fish" : Words(command);
    for (const auto& option : command.options) {
      words += " " + option.name;
    }
    text += "    " + (command.name.empty() ? "\"\"" : command.name) + ") COMPREPLY=($(compgen " +
            (command.words.empty() ? "" : "-f ") + "-W '" + words + "' -- \"$word\"));;\n";
  }
  return text + "  esac\n}\ncomplete -F _moatctl moatctl\n";
}

std::string Zsh(const std::vector<CommandWords>& commands) {
  std::string text =
      "#compdef moatctl\n# zsh completion for moatctl: moatctl completion zsh > a directory of $fpath/_moatctl\n"
      "_moatctl() {\n  local curcontext=$curcontext state line\n  _arguments -C";
  auto options = [&](const CommandWords& command) {
    std::string list;
    for (const auto& option : command.options) {
      std::string spec = "*" + option.name + "[" + Escaped(option.help, ":[]") + "]";
      if (option.takes_value) {
        std::string values = Values(option.name);
        spec += ":value:" + (values.empty() ? "" : "(" + values + ")");
      }
      list += " \\\n    " + Quoted(spec);
    }
    return list;
  };
  for (const auto& command : commands) {
    if (command.name.empty()) {
      text += options(command);
    }
  }
  text += " \\\n    '1:command:((";
  for (const auto& command : commands) {
    if (!command.name.empty()) {
      text += command.name + "\\:" + Escaped(command.help, ":\\ ()\"'") + " ";
    }
  }
  text += "))' \\\n    '*::argument:->arguments'\n  case $line[1] in\n";
  for (const auto& command : commands) {
    if (!command.name.empty()) {
      text += "  " + command.name + ") _arguments" + options(command) +
              (command.name == "completion" ? " \\\n    '1:shell:(bash zsh fish)'"
               : !command.words.empty()     ? " \\\n    '1:command:(" + Words(command) + ")' \\\n    '*:file:_files'"
                                            : "") +
              ";;\n";
    }
  }
  return text + "  esac\n}\n_moatctl \"$@\"\n";
}

std::string Fish(const std::vector<CommandWords>& commands) {
  std::string text =
      "# fish completion for moatctl: moatctl completion fish > ~/.config/fish/completions/moatctl.fish\ncomplete -c moatctl -f\n";
  for (const auto& command : commands) {
    if (!command.name.empty()) {
      text += "complete -c moatctl -n __fish_use_subcommand -a " + command.name + " -d " + Quoted(command.help) + "\n";
    }
    for (const auto& option : command.options) {
      text += "complete -c moatctl" + (command.name.empty() ? "" : " -n '__fish_seen_subcommand_from " + command.name + "'") +
              " -l " + option.name.substr(2) + " -d " + Quoted(option.help);
      if (option.takes_value) {
        std::string values = Values(option.name);
        text += " -x" + (values.empty() ? "" : " -a '" + values + "'");
      }
      text += "\n";
    }
  }
  for (const auto& command : commands) {
    if (!command.name.empty() && !command.words.empty()) {
      text += "complete -c moatctl -n '__fish_seen_subcommand_from " + command.name + "' -F -a '" + Words(command) + "'\n";
    }
  }
  return text + "complete -c moatctl -n '__fish_seen_subcommand_from completion' -a 'bash zsh fish'\n";
}

}  // namespace

std::string Completion(const std::string& shell, const std::vector<CommandWords>& commands) {
  return shell == "zsh" ? Zsh(commands) : shell == "fish" ? Fish(commands) : Bash(commands);
}

}  // namespace moat::cli
