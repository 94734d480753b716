"""CIFAR-100: 32×32 colour images of 100 classes, 500 training and 100 test images each (Krizhevsky 2009)."""

from jkbench import Dataset, Split, of_torchvision, prepared, with_validation


class Cifar100(Dataset):
    """Fetched through torchvision, or imported by ``jkbench data import``; 50 training images a class validate."""

    cite = "krizhevsky2009cifar"
    content = "6fa7824fe2fe2a8c"
    classes = (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
        "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee",
        "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant",
        "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower",
        "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
        "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate",
        "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark",
        "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower",
        "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train", "trout", "tulip",
        "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    )  # fmt: skip

    def load(self) -> dict[str, Split]:
        splits = prepared("cifar100", self.classes, self.content, of_torchvision("CIFAR100"))
        return with_validation(splits, per_class=50)
