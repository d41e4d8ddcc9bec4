# SPDX-License-Identifier: Apache-2.0
"""The fenced commands of a section of a page, and a shell that types them."""

import dataclasses
import pathlib
import re


@dataclasses.dataclass
class Command:
    text: str  # as it is written
    status: int  # that it is to end with: 0, or N of a comment "# exit status N"
    said: str = ""


def section(page: pathlib.Path, heading: str) -> str:
    parts = re.split(r"^(?:#+) (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = [text for name, text in zip(parts[1::2], parts[2::2]) if name == heading]
    if len(found) != 1:
        raise ValueError(f"{page.name}: {len(found)} sections '{heading}'")
    return found[0]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[Command]:
    """One for each that is typed: lines that go on, and here documents, are part of theirs."""
    found, lines = [], iter(block.splitlines())
    for line in lines:
        text = line
        while text.endswith("\\"):
            text += "\n" + next(lines)
        if end := re.search(r"<<'?(\w+)'?", text):
            while not text.endswith(f"\n{end.group(1)}"):
                text += "\n" + next(lines)
        if text.strip() and not text.startswith("#"):
            status = re.search(r"# exit status (\d+)", text)
            found.append(Command(text, int(status.group(1)) if status else 0))
    return found


def script(typed: list[Command], mark: str, pause: float) -> str:
    """For one shell; after each command, in a line of its own, a mark and the status, then the pause of somebody who types."""
    return "".join(f"{command.text}\nprintf '\\n{mark} %s\\n' $?\nsleep {pause}\n" for command in typed)


def show(command: Command, most: int = 25):
    said = command.said.splitlines()
    print("\n".join([*(f"  $ {line}" for line in command.text.splitlines()), *(f"    {line}" for line in said[:most])]))
    if len(said) > most:
        print(f"    ... {len(said) - most} lines more")


def read_back(typed: list[Command], mark: str, output: str) -> list[str]:
    """What each command said goes to it; returned is what is not as it should be."""
    parts = re.split(rf"^{mark} (\d+)\n", output, flags=re.MULTILINE)
    problems = []
    for number, command in enumerate(typed):
        if 2 * number + 1 >= len(parts):
            return [*problems, f"the shell ended at: {command.text}\n{parts[-1]}"]
        command.said = parts[2 * number].removesuffix("\n")
        status = int(parts[2 * number + 1])
        show(command)
        if status != command.status:
            problems.append(f"status {status}, not {command.status}: {command.text}\n{command.said}")
    return problems
