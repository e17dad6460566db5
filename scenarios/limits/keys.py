"""The section [limit] of a scenario file: for each kind of study the keys it has."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

from pydantic import Discriminator, Field, Tag

from ..values import Section

Counts = Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=2)]
Numbers = Annotated[list[float], Field(min_length=2)]


class DepthKeys(Section):
    """The same depth T in more and more layers: the network against the flow."""

    kind: Literal["depth"] = Field(description="The kind of study.")
    layers: Counts = Field(
        default=[8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096], description="Numbers of layers L, of step T / L."
    )
    network: Literal["layer", "heun", "rk4"] = Field(
        default="layer", description="What a layer is: the network's own map, or a step of Heun's or of Runge's method."
    )
    samples: int = Field(
        default=1, ge=1, le=100_000, description="With independent weights: so many networks with weights of their own."
    )


KEYS: dict[str, type[Section]] = {"depth": DepthKeys}


def _kind(value: Any) -> str | None:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if kind in KEYS else None


class _AnyKind:
    """Annotation of the section: one model for every kind."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        tagged = [Annotated[model, Tag(name)] for name, model in KEYS.items()]
        union: Any = Union[tuple(tagged)]  # noqa: UP007
        chosen = Discriminator(
            _kind, custom_error_type="form", custom_error_message=f"kind must be one of {', '.join(KEYS)}"
        )
        return handler.generate_schema(Annotated[union, chosen])


LimitSection = Annotated[Section, _AnyKind()]
