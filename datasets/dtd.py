"""Describable Textures: 40 training, 40 validation and 40 test photographs of 47 textures (Cimpoi 2014)."""

from jkbench import Dataset, Split, files_of_torchvision, photographs


class Dtd(Dataset):
    """Fetched through torchvision, with the first of the ten published splits, or imported."""

    cite = "cimpoi2014describing"
    fetched = True
    classes = (
        "banded", "blotchy", "braided", "bubbly", "bumpy", "chequered", "cobwebbed", "cracked", "crosshatched",
        "crystalline", "dotted", "fibrous", "flecked", "freckled", "frilly", "gauzy", "grid", "grooved",
        "honeycombed", "interlaced", "knitted", "lacelike", "lined", "marbled", "matted", "meshed", "paisley",
        "perforated", "pitted", "pleated", "polka-dotted", "porous", "potholed", "scaly", "smeared", "spiralled",
        "sprinkled", "stained", "stratified", "striped", "studded", "swirly", "veined", "waffled", "woven",
        "wrinkled", "zigzagged",
    )  # fmt: skip

    size: int = 96

    def load(self) -> dict[str, Split]:
        splits = {"train": "train", "validation": "val", "test": "test"}
        files = files_of_torchvision("DTD", self.classes, splits)
        return photographs("dtd", self.classes, self.size, files)
