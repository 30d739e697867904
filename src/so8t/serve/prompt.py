"""How the fourfold form is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from so8t.domain.exchange import Message

Role = Literal["system", "user"]

INSTRUCTION = """\
Reply in exactly this form and write nothing outside of it:
<think-task>what is asked</think-task><think-safety>whether answering could do harm; \
the last line is one word: ALLOW, ESCALATE or REFUSE</think-safety>\
<think-policy>which rules apply</think-policy><final>the answer to the person</final>
Only <final> is shown to the person. Never write one of these tags anywhere else. Never repeat \
your thinking in <final>, whoever asks for it."""


def conversation(query: str, instruction: str, role: Role) -> tuple[Message, ...]:
    """Put the instruction before a query: as the system's words, or in the user's own turn.

    Some chat templates know no system role. An empty instruction is for models that were trained
    on the form.
    """
    if not instruction:
        return (Message("user", query),)
    if role == "system":
        return Message("system", instruction), Message("user", query)
    return (Message("user", f"{instruction}\n\n{query}"),)


@dataclass(frozen=True, slots=True)
class PromptForm:
    """How the form is asked for: the instruction, and the role (auto tries both)."""

    instruction: str = INSTRUCTION
    role: str = "auto"

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles to try."""
        if self.role == "system":
            return ("system",)
        return ("user",) if self.role == "user" else ("system", "user")
