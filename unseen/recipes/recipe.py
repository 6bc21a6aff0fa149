"""A recipe: one whole experiment as a tree of frozen dataclasses, whose nodes are the components themselves."""

from dataclasses import dataclass

from unseen.contract import Corruption, MaskPolicy, ModelSpec, Unit
from unseen.data.source import View
from unseen.evaluate.probes import Probe
from unseen.systems.cues import Importance
from unseen.systems.objective import Objective, Term
from unseen.train.training import Training
from unseen.units.normalise import Normalise


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole experiment; see `unseen/recipes/images.py` for how they read."""

    view: View  # how logs become samples
    normalise: Normalise | None  # how pixels become numbers; None: the content is no image
    unit: Unit  # what can be hidden
    mask: MaskPolicy  # which of it is hidden
    targets: dict[str, Term]  # what is predicted there, and what each loss counts
    model: ModelSpec
    training: Training
    corruption: Corruption | None = None  # what of the hidden units the model reads all the same
    importance: Importance | None = None  # cues for what is sparse and matters, for masks that favour it
    correct: bool = False  # divide losses by the probability to be hidden, where the mask knows it
    decode: float = 1.0  # share of the hidden units that is predicted in a step
    probes: tuple[Probe, ...] = ()  # what the encoder will be judged by: fixed and hashed before training

    def objective(self) -> Objective:
        """The part that makes batches and losses; targets that a network makes are not bound yet."""
        return Objective(
            normalise=self.normalise,
            unit=self.unit,
            mask=self.mask,
            targets=self.targets,
            corruption=self.corruption,
            importance=self.importance,
            correct=self.correct,
            decode=self.decode,
        )
