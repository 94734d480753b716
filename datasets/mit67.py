"""MIT Indoor Scenes: 80 training and 20 test photographs of each of 67 kinds of room (Quattoni & Torralba 2009)."""

from pathlib import Path

from jkbench import Dataset, Split, UserError, downloaded, labels_of, photographs, unpacked

IMAGES = "http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar"
LISTS = {
    "train": "http://web.mit.edu/torralba/www/TrainImages.txt",
    "test": "http://web.mit.edu/torralba/www/TestImages.txt",
}

LISTED = {"train": 67 * 80, "test": 67 * 20}


class Mit67(Dataset):
    """The authors' archive and lists, or imported by ``jkbench data import``; 16 training images a class validate."""

    cite = "quattoni2009recognizing"
    fetched = True
    classes = (
        "airport_inside", "artstudio", "auditorium", "bakery", "bar", "bathroom", "bedroom", "bookstore", "bowling",
        "buffet", "casino", "children_room", "church_inside", "classroom", "cloister", "closet", "clothingstore",
        "computerroom", "concert_hall", "corridor", "deli", "dentaloffice", "dining_room", "elevator",
        "fastfood_restaurant", "florist", "gameroom", "garage", "greenhouse", "grocerystore", "gym", "hairsalon",
        "hospitalroom", "inside_bus", "inside_subway", "jewelleryshop", "kindergarden", "kitchen", "laboratorywet",
        "laundromat", "library", "livingroom", "lobby", "locker_room", "mall", "meeting_room", "movietheater",
        "museum", "nursery", "office", "operating_room", "pantry", "poolinside", "prisoncell", "restaurant",
        "restaurant_kitchen", "shoeshop", "stairscase", "studiomusic", "subway", "toystore", "trainstation",
        "tv_studio", "videostore", "waitingroom", "warehouse", "winecellar",
    )  # fmt: skip

    size: int = 96

    def load(self) -> dict[str, Split]:
        return photographs("mit67", self.classes, self.size, self._files, validation=16)

    def _files(self, folder: Path) -> dict[str, list[tuple[Path, int]]]:
        found = {}
        for part, url in LISTS.items():
            file = downloaded(url, folder)
            names = file.read_text(encoding="utf-8", errors="replace").split("\n")
            names = [name.strip() for name in names if name.strip()]  # CLASS/FILE, which may hold spaces
            labels = labels_of([name.partition("/")[0] for name in names], self.classes, str(file))
            if len(names) != LISTED[part]:  # nobody has published a checksum of it
                raise UserError(f"{file} lists {len(names)} images, not {LISTED[part]}", "delete it and try again")
            found[part] = list(zip(names, labels, strict=True))
        images = unpacked(IMAGES, folder) / "Images"
        return {part: [(images / name, label) for name, label in listed] for part, listed in found.items()}
