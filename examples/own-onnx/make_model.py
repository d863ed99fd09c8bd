"""Write ranker.onnx, a model with two inputs, and ranker.npz, its validation data: stand-ins for your own files.

python examples/own-onnx/make_model.py
runner inspect ranker.onnx
runner model=file model.path=ranker.onnx data=arrays data.path=ranker.npz backend=ort,openvino precision=fp32,int8
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

QUERY, DOCUMENT, GRADES, SAMPLES = 64, 128, 4, 1024


class Ranker(nn.Module):
    """Grades how well a document answers a query."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.query = nn.Sequential(nn.Linear(QUERY, 256), nn.ReLU())
        self.document = nn.Sequential(nn.Linear(DOCUMENT, 256), nn.ReLU())
        self.grade = nn.Sequential(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, GRADES))

    def forward(self, query: Tensor, document: Tensor) -> Tensor:
        """Return a score for each grade, samples × 4, from queries (samples × 64) and documents (samples × 128)."""
        return self.grade(torch.cat([self.query(query), self.document(document)], dim=1))


def main() -> None:
    """Write both files into the current folder."""
    torch.manual_seed(0)
    model = Ranker().eval()
    query, document = torch.randn(SAMPLES, QUERY), torch.randn(SAMPLES, DOCUMENT)
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        model,
        (query[:2], document[:2]),
        "ranker.onnx",
        input_names=["query", "document"],
        output_names=["grades"],
        dynamic_shapes={"query": {0: batch}, "document": {0: batch}},
        dynamo=True,
        external_data=False,
    )
    with torch.no_grad():
        labels = model(query, document).argmax(dim=1)  # yours come from people; these are what fp32 says
    np.savez("ranker.npz", query=query.numpy(), document=document.numpy(), labels=labels.numpy())
    print("ranker.onnx and ranker.npz")


if __name__ == "__main__":
    main()
