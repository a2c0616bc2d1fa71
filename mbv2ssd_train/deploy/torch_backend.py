"""A PyTorch network with the run time's Backend interface, so that one evaluation scores both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import torch

from mbv2ssd_ros.core.contract import ModelContract
from mbv2ssd_ros.core.output_summary import Difference, Outputs
from mbv2ssd_train.data.identity import Learnt
from mbv2ssd_train.model.deploy import DeployModel


class TorchBackend:
    """The deployed graph in PyTorch, float32; the model is in eval mode on its device."""

    name = 'torch'
    self_test: Difference | None = None  # only model files have one
    max_batch = 16
    max_concurrency = 1  # torch uses all cores in one call

    def __init__(self, model: DeployModel, contract: ModelContract, learnt: Learnt | None = None
                 ) -> None:
        self.model = model.to(memory_format=torch.channels_last)
        self.learnt = learnt  # None: not known
        self.contract = contract
        self._device = model.priors.device
        self.detail = f'PyTorch {torch.__version__}, {self._device.type.upper()}'

    def infer(self, images: NDArray[np.uint8]) -> Outputs:
        """Run the network; see Backend.infer."""
        with torch.inference_mode():
            boxes, scores = self.model(torch.from_numpy(images).to(self._device))
        return boxes.cpu().numpy(), scores.cpu().numpy()

    def close(self) -> None:
        """Nothing to free."""
