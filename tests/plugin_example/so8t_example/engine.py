"""An engine: it repeats the last word, and model B says please."""

from contextlib import contextmanager
from typing import ClassVar, Literal

from pydantic import Field

from so8t.config.engine_section import EngineSettings
from so8t.domain.exchange import Arm, EngineInfo, EngineReply, LoadReport, Status
from so8t.engines.protocol import Capabilities, EngineKind

CAPABILITIES = Capabilities(local=False, max_in_flight=1)


class ParrotSettings(EngineSettings):
    """`engine: {kind: parrot}`."""

    SOURCE_KEY: ClassVar[str | None] = "served"

    kind: Literal["parrot"] = "parrot"
    times: int = Field(default=1, ge=1, description="how often a word is repeated")


class Parrot:
    """The engine. A model is a name, and nothing is loaded."""

    info = EngineInfo("parrot", "1.0")
    capabilities = CAPABILITIES

    def __init__(self, times):
        self.times = times

    def adopt(self, model, name, artifacts):
        return model

    def recall(self, models):
        pass

    def open(self, model, profile):
        return ParrotSession(model.arm, self.times, profile)


class ParrotSession:
    ready = False

    def __init__(self, arm, times, profile):
        self.arm, self.times = arm, times
        self.report = LoadReport(seconds=0.0, context=profile.context, slots=1)

    def serve(self, requests, *, in_flight=None):
        for request in requests:
            word = request.messages[-1].content.split()[-1]
            said = " ".join([word] * self.times)
            text = f"please, {said}" if self.arm is Arm.B else said
            yield EngineReply(request.key, Status.COMPLETED, text, seconds=0.0)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        pass


@contextmanager
def _open(context):
    yield Parrot(context.settings.times)


KIND = EngineKind("parrot", ParrotSettings, CAPABILITIES, _open)
