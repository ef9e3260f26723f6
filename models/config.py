"""The shape and semantics of a Llama-like model: one frozen dataclass.

What it describes (all models of the project): token embedding; per layer grouped-query attention with
interleaved RoPE (pairs (2j, 2j + 1)) and a gated MLP ``down(f(gate x) * up x)``, f being SiLU or ReLU
squared, each added to the residual stream; a final RMSNorm with gain; a head, tied to the embedding or not.

Normalisation: q, k, v share the attention input's norm; gate, up share the MLP input's norm (with a gain
vector where ``block_gain``); with ``inner_norm`` (BitLinear) the inputs of o and down are normalised too
(with a gain vector where ``inner_gain``: the sub-norms of BitNet b1.58 2B4T, arXiv 2504.12285). No other
norms.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

__all__ = ["MATRICES", "SITES", "SITE_MATRICES", "ModelConfig", "matrix_shapes", "site_width"]

#: The matrices of a layer.
MATRICES = ("q", "k", "v", "o", "gate", "up", "down")
#: The inputs that are normalised or quantised: of q, k, v; of o; of gate and up; of down; of the head.
SITES: tuple[str, ...] = ("attention", "o", "mlp", "down", "final")
#: The matrices that multiply the input of a site.
SITE_MATRICES: dict[str, tuple[str, ...]] = {
    "attention": ("q", "k", "v"),
    "o": ("o",),
    "mlp": ("gate", "up"),
    "down": ("down",),
    "final": ("head",),
}


@dataclass(frozen=True)
class ModelConfig:
    """Shape and semantics of one model; validated on construction (ValueError).

    Parameters
    ----------
    name: what reports call the model.
    dim: width of the residual stream; ``heads`` x ``head_size``.
    hidden: width of the MLP's inner layer.
    layers: number of layers.
    heads, kv_heads: query heads, and key/value heads (a divisor of ``heads``).
    vocab: number of token ids.
    context: most tokens a sequence may hold.
    rope_base: base of the RoPE frequencies: position * base ** (-2 j / head_size).
    norm: "rms": x / sqrt(mean(x^2) + norm_eps); "l2", the ak42 form:
        x / max(||x||, 1e-12) * in_features ** -0.5.
    norm_eps: eps of the block norms where ``norm`` is "rms".
    block_gain: whether the attention-input and MLP-input norms have a gain vector.
    inner_norm: whether the inputs of o and down are normalised (BitLinear).
    inner_gain: whether these norms have a gain vector; only with ``inner_norm``.
    activation: f of the MLP: "silu": x / (1 + exp(-x)); "relu2": max(x, 0)^2.
    final_eps: eps of the final RMSNorm, which always has a gain.
    tied_head: whether the head is the embedding.
    bos: id that begins a sequence.
    eos: id that ends one, if there is one.
    """

    name: str
    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int
    rope_base: float = 10000.0
    norm: Literal["rms", "l2"] = "rms"
    norm_eps: float = 1e-5
    block_gain: bool = True
    inner_norm: bool = True
    inner_gain: bool = False
    activation: Literal["silu", "relu2"] = "silu"
    final_eps: float = 1e-5
    tied_head: bool = True
    bos: int = 1
    eos: int | None = 2

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isprintable():
            self._refuse("name", "printable text", self.name, "name the model")
        for field in ("dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                self._refuse(field, "a positive integer", value, "correct the checkpoint's header")
        if self.dim % self.heads:
            self._refuse("dim", f"a multiple of heads = {self.heads}", self.dim, "change dim or heads")
        if self.head_size % 2:
            self._refuse(
                "dim / heads", "an even head size (RoPE turns pairs)", self.head_size, "change dim or heads"
            )
        if self.heads % self.kv_heads:
            self._refuse("kv_heads", f"a divisor of heads = {self.heads}", self.kv_heads, "change kv_heads")
        if self.norm not in ("rms", "l2"):
            self._refuse("norm", "'rms' or 'l2'", self.norm, "name one of the two")
        if self.activation not in ("silu", "relu2"):
            self._refuse("activation", "'silu' or 'relu2'", self.activation, "name one of the two")
        for field in ("rope_base", "norm_eps", "final_eps"):
            value = getattr(self, field)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not 2.0**-126 <= value < 2.0**127:
                self._refuse(
                    field, "a positive number that binary32 holds", value, "correct the checkpoint's header"
                )
        for field in ("block_gain", "inner_norm", "inner_gain", "tied_head"):
            value = getattr(self, field)
            if not isinstance(value, bool):
                self._refuse(field, "true or false", value, "correct the checkpoint's header")
        if self.inner_gain and not self.inner_norm:
            self._refuse("inner_gain", "false where inner_norm is", True, "set inner_norm or leave it out")
        for field in ("bos", "eos"):
            value = getattr(self, field)
            if value is None and field == "eos":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < self.vocab:
                self._refuse(
                    field,
                    f"a token id below vocab = {self.vocab}",
                    value,
                    f"take {field} from the model's tokenizer",
                )

    def _refuse(self, field: str, wanted: str, found: object, remedy: str) -> None:
        raise ValueError(f"model {self.name!r}: {field}: wanted {wanted}, found {found!r}; {remedy}")

    @property
    def head_size(self) -> int:
        """Elements of one head."""
        return self.dim // self.heads

    def gains(self) -> dict[str, int]:
        """Elements of each gain vector of a layer, by site (`SITES`)."""
        block = {"attention": self.dim, "mlp": self.dim} if self.block_gain else {}
        return block | ({"o": self.dim, "down": self.hidden} if self.inner_gain else {})

    @property
    def kv_dim(self) -> int:
        """Elements of all key (or value) heads of one token."""
        return self.kv_heads * self.head_size

    def to_json(self) -> dict[str, Any]:
        """Every field as a JSON-ready dictionary; ``from_json`` is its inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "ModelConfig":
        """Rebuild a configuration; ValueError names missing or unknown fields."""
        known = {field.name for field in fields(cls)}
        needed = {"name", "dim", "hidden", "layers", "heads", "kv_heads", "vocab", "context"}
        missing, unknown = sorted(needed - values.keys()), sorted(values.keys() - known)
        if missing or unknown:
            raise ValueError(
                f"model configuration: wanted the fields of ModelConfig, found missing {missing} "
                f"and unknown {unknown}; write it with ModelConfig.to_json of this version"
            )
        return cls(**values)


def matrix_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """(out, in) of each matrix of a layer."""
    d, h, kv = config.dim, config.hidden, config.kv_dim
    return {
        "q": (d, d),
        "k": (kv, d),
        "v": (kv, d),
        "o": (d, d),
        "gate": (h, d),
        "up": (h, d),
        "down": (d, h),
    }


def site_width(config: ModelConfig, site: str) -> int:
    """Elements of the vector that is normalised at ``site``."""
    return config.hidden if site == "down" else config.dim
