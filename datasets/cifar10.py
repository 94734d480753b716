"""CIFAR-10: 32×32 colour images of 10 classes, 5,000 training and 1,000 test images each (Krizhevsky 2009)."""

from jkbench import Dataset, Split, of_torchvision, prepared, with_validation


class Cifar10(Dataset):
    """Fetched through torchvision, or imported by ``jkbench data import``; 500 training images a class validate."""

    cite = "krizhevsky2009cifar"
    content = "79d5a27a09ac0edd"
    classes = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip

    def load(self) -> dict[str, Split]:
        splits = prepared("cifar10", self.classes, self.content, of_torchvision("CIFAR10"))
        return with_validation(splits, per_class=500)
