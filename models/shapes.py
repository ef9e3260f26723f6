"""Workloads by shape: the sizes of published models, for weights that come from a seed (`models.seeded`).

Sizes: BitNet b1.58 0.73B (24 layers, one embedding that is the head too) and 2B-4T of their model cards, the
layers of Llama 2 7B and Llama 3 8B of theirs. The sub-norms (before o and down) of 0.73B are here without
gain. The id of BOS is 1 and none ends a text, so that a measurement goes on for as long as it is asked to.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from .config import MATRICES, SITES, ModelConfig
from .errors import CheckpointError

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

__all__ = ["SHAPES", "Outline", "Shape", "numbered_tokenizer"]

#: Layers that the instruction set counts to.
_MOST_LAYERS = 2**16 - 1
#: Fields that shapes of earlier files do not have.
_LATER = frozenset({"inner_gain", "activation"})
_SPECIALS = ("<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class Shape:
    """Sizes of a model whose weights are drawn; ValueError where one is no size.

    Parameters
    ----------
    name: what the command line calls it.
    dim ... context: as of `ModelConfig`; ``layers``: of the whole model.
    group: 0 for ternary matrices; else int4 ones, so many weights with a scale and a minimum.
    rope_base, inner_norm, tied_head, inner_gain, activation: as of `ModelConfig`.
    missing: what such a model needs and this version cannot express; `config` refuses it.
    """

    name: str
    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int
    group: int = 0
    rope_base: float = 10000.0
    inner_norm: bool = False
    tied_head: bool = False
    missing: tuple[str, ...] = ()
    inner_gain: bool = False
    activation: Literal["silu", "relu2"] = "silu"

    def __post_init__(self) -> None:
        if type(self.group) is not int or not 0 <= self.group < 2**16:
            raise ValueError(f"shape {self.name!r}: group: wanted 0 to 65535, found {self.group!r}")
        if type(self.layers) is not int or not 1 <= self.layers <= _MOST_LAYERS:
            raise ValueError(
                f"shape {self.name!r}: layers: wanted 1 to {_MOST_LAYERS}, found {self.layers!r}"
            )

    def config(self, layers: int | None = None) -> ModelConfig:
        """The configuration of the whole shape, or of its first ``layers``.

        Raises CheckpointError where the shape needs what is missing here, or has fewer layers.
        """
        where = f"shape {self.name!r}"
        if self.missing:
            known = ", ".join(name for name, shape in SHAPES.items() if not shape.missing)
            raise CheckpointError(
                where,
                "a model that this version can express",
                f"one that needs {' and '.join(self.missing)}",
                f"choose another shape: {known}",
            )
        count = self.layers if layers is None else layers
        if not 1 <= count <= self.layers:
            raise CheckpointError(
                where, f"1 to {self.layers} layers", count, "leave the number out for all of them"
            )
        return ModelConfig(
            name=self.name if count == self.layers else f"{self.name} ({count} of {self.layers} layers)",
            dim=self.dim,
            hidden=self.hidden,
            layers=count,
            heads=self.heads,
            kv_heads=self.kv_heads,
            vocab=self.vocab,
            context=self.context,
            rope_base=self.rope_base,
            inner_norm=self.inner_norm,
            tied_head=self.tied_head,
            inner_gain=self.inner_gain,
            activation=self.activation,
            eos=None,
        )

    def outline(self, layers: int | None = None) -> "Outline":
        """What planning asks of the model; `CheckpointError` as of `config`."""
        return Outline(self.config(layers), self.forms())

    def forms(self) -> dict[str, dict[str, Any]]:
        """`IntegerLinear.form` of the integer matrices and of the head, which is int8."""
        names = MATRICES if self.group else ()
        matrices = {name: {"bits": 4, "group": self.group, "minima": True} for name in names}
        return matrices | {"head": {"bits": 8, "group": 0, "minima": False}}

    def to_json(self) -> dict[str, Any]:
        """Every field, JSON-ready; ``from_json`` is its inverse."""
        return {**asdict(self), "missing": list(self.missing)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Shape":
        """ValueError where ``values`` has other fields than a shape; earlier versions left `_LATER` out."""
        names = {field.name for field in fields(cls)}
        if not names - _LATER <= values.keys() <= names:
            raise ValueError(f"shape: wanted the fields {sorted(names)}, found {sorted(values)}")
        return cls(**{**values, "missing": tuple(values["missing"])})


@dataclass(frozen=True)
class Outline:
    """What planning a program asks of a model, with no weight drawn: `compiler.plan.Planned`.

    grids: all alike, as those of a model that was not calibrated; the timing of a program does not depend on
    their values, but where those of the attention and the final norm differ it has one MAP more.
    """

    config: ModelConfig
    forms: dict[str, dict[str, Any]]
    grids: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SITES, 0))
    activations: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SITES, 8))

    def form(self, name: str) -> dict[str, Any] | None:
        """As of `models.quantised.QuantisedModel`."""
        return self.forms.get(name)


_BITNET = Shape(
    "bitnet-0.73b", dim=1536, hidden=4096, layers=24, heads=16, kv_heads=16, vocab=32002, context=1024,
    inner_norm=True, tied_head=True,
)  # fmt: skip
_BITNET_2B = Shape(
    "bitnet-2b-4t", dim=2560, hidden=6912, layers=30, heads=20, kv_heads=5, vocab=128256, context=4096,
    rope_base=500000.0, inner_norm=True, tied_head=True,
    inner_gain=True, activation="relu2",
)  # fmt: skip
_LLAMA_2 = Shape(
    "llama-2-7b", dim=4096, hidden=11008, layers=32, heads=32, kv_heads=32, vocab=32000, context=4096,
    group=32,
)  # fmt: skip
_LLAMA_3 = Shape(
    "llama-3-8b", dim=4096, hidden=14336, layers=32, heads=32, kv_heads=8, vocab=128256, context=8192,
    group=32, rope_base=500000.0,
)  # fmt: skip

#: Shapes by name, as the command line knows them.
SHAPES = {shape.name: shape for shape in (_BITNET, _BITNET_2B, _LLAMA_2, _LLAMA_3)}


def numbered_tokenizer(config: ModelConfig) -> "Tokenizer":
    """A tokenizer for drawn weights: three special ids, a byte each for 256 more, then ids that read as
    their number; text is encoded byte by byte. ValueError for fewer than 259 ids."""
    from tokenizers import Tokenizer as HFTokenizer  # not needed for sizes, and slow to load
    from tokenizers import decoders, pre_tokenizers
    from tokenizers import models as schemes

    from .tokenizer import Tokenizer, byte_alphabet

    pieces = [*_SPECIALS, *byte_alphabet()]
    if config.vocab < len(pieces):
        raise ValueError(
            f"model {config.name!r}: vocab: wanted {len(pieces)} or more (a token for each byte), "
            f"found {config.vocab}; give a tokenizer of your own"
        )
    space = byte_alphabet()[ord(" ")]
    pieces += [f"{space}#{number}" for number in range(len(pieces), config.vocab)]
    inner = HFTokenizer(schemes.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(list(_SPECIALS))
    return Tokenizer.from_json(inner.to_str().encode())
