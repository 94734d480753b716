"""Oxford Flowers-17: 80 photographs of each of 17 flowers common in Britain (Nilsback & Zisserman 2006)."""

from pathlib import Path

from jkbench import Dataset, Split, drawn, photographs, unpacked

URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/17/17flowers.tgz"
EACH = 80


class Flowers17(Dataset):
    """The authors' archive, or imported by ``jkbench data import`` with the split that the file has.

    Of the archive's images 40 a class train, 20 validate and 20 test, drawn once over the files' names: a split of our
    own, as large as the published three.
    """

    cite = "nilsback2006visual"
    fetched = True
    classes = (
        "daffodil", "snowdrop", "lily_valley", "bluebell", "crocus", "iris", "tigerlily", "tulip", "fritillary",
        "sunflower", "daisy", "colts_foot", "dandelion", "cowslip", "buttercup", "windflower", "pansy",
    )  # fmt: skip

    size: int = 96

    def load(self) -> dict[str, Split]:
        return photographs("flowers17", self.classes, self.size, self._files)

    def _files(self, folder: Path) -> dict[str, list[tuple[Path, int]]]:
        images = unpacked(URL, folder) / "jpg"
        count = EACH * len(self.classes)
        files = [(images / f"image_{number + 1:04d}.jpg", number // EACH) for number in range(count)]
        return drawn(files, train=40, validation=20, test=20)
