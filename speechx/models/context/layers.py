"""What the layers of the context networks share: how they start, and the run through them.

B utterances · T frames · D = embed_dim · L layers
"""

from collections.abc import Sequence

from torch import Tensor, nn


def start_linear(*linears: nn.Linear) -> None:
    """Draws the weights with deviation 0.02, and sets the biases to 0."""
    for linear in linears:
        nn.init.normal_(linear.weight, std=0.02)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)


def run_layers(
    layers: nn.ModuleList, x_BTD: Tensor, layer_keep_L: Sequence[bool] | None, *given: Tensor | None
) -> tuple[Tensor, ...]:
    """The input of the first layer and the output of every layer, which gets `given` too.
    `layer_keep_L`: layers that LayerDrop keeps, None for all."""
    hidden = [x_BTD]
    for index, layer in enumerate(layers):
        y_BTD = layer(x_BTD, *given)
        # A dropped layer is multiplied by 0 and not left out: every rank has the same graph and
        # every parameter a gradient.
        keep = layer_keep_L is None or layer_keep_L[index]
        x_BTD = y_BTD if keep else x_BTD + 0 * y_BTD
        hidden.append(x_BTD)
    return tuple(hidden)
