"""Caltech-101: 31 to 800 photographs of each of 101 kinds of object, without a published split (Fei-Fei 2004)."""

from pathlib import Path

from jkbench import Dataset, Split, UserError, drawn, labels_of, photographs

IMAGES = 8677
"""Of the 101 classes, the background apart."""


class Caltech101(Dataset):
    """Fetched through torchvision, or imported by ``jkbench data import``.

    The common protocol: 30 training images a class and up to 50 of the others for test, drawn once over the files'
    names; the background class is left out. 5 training images a class validate.
    """

    cite = "feifei2004learning"
    fetched = True
    classes = (
        "Faces", "Faces_easy", "Leopards", "Motorbikes", "accordion", "airplanes", "anchor", "ant", "barrel", "bass",
        "beaver", "binocular", "bonsai", "brain", "brontosaurus", "buddha", "butterfly", "camera", "cannon",
        "car_side", "ceiling_fan", "cellphone", "chair", "chandelier", "cougar_body", "cougar_face", "crab",
        "crayfish", "crocodile", "crocodile_head", "cup", "dalmatian", "dollar_bill", "dolphin", "dragonfly",
        "electric_guitar", "elephant", "emu", "euphonium", "ewer", "ferry", "flamingo", "flamingo_head", "garfield",
        "gerenuk", "gramophone", "grand_piano", "hawksbill", "headphone", "hedgehog", "helicopter", "ibis",
        "inline_skate", "joshua_tree", "kangaroo", "ketch", "lamp", "laptop", "llama", "lobster", "lotus", "mandolin",
        "mayfly", "menorah", "metronome", "minaret", "nautilus", "octopus", "okapi", "pagoda", "panda", "pigeon",
        "pizza", "platypus", "pyramid", "revolver", "rhino", "rooster", "saxophone", "schooner", "scissors",
        "scorpion", "sea_horse", "snoopy", "soccer_ball", "stapler", "starfish", "stegosaurus", "stop_sign",
        "strawberry", "sunflower", "tick", "trilobite", "umbrella", "watch", "water_lilly", "wheelchair", "wild_cat",
        "windsor_chair", "wrench", "yin_yang",
    )  # fmt: skip

    size: int = 96

    def load(self) -> dict[str, Split]:
        return photographs("caltech101", self.classes, self.size, self._files, validation=5)

    def _files(self, folder: Path) -> dict[str, list[tuple[Path, int]]]:
        from torchvision.datasets import Caltech101 as Published

        held = Published(str(folder), download=True)
        place = labels_of(held.categories, self.classes, str(folder))
        root = Path(held.root) / "101_ObjectCategories"
        if len(held.y) != IMAGES:  # torchvision lists whatever an unpacking that was stopped has left
            raise UserError(f"{root} has {len(held.y)} images, not {IMAGES}", f"delete {root} and try again")
        files = [
            (root / held.categories[category] / f"image_{number:04d}.jpg", place[category])
            for category, number in zip(held.y, held.index, strict=True)
        ]
        return drawn(files, train=30, test=50)
