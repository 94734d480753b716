"""Oxford-IIIT Pets: about 100 training and 100 test photographs of 37 breeds of cats and dogs (Parkhi 2012)."""

from jkbench import Dataset, Split, files_of_torchvision, photographs


class Pets(Dataset):
    """Fetched through torchvision, with the published split, or imported; 20 training images a class validate."""

    cite = "parkhi2012cats"
    fetched = True
    classes = (
        "Abyssinian", "American Bulldog", "American Pit Bull Terrier", "Basset Hound", "Beagle", "Bengal", "Birman",
        "Bombay", "Boxer", "British Shorthair", "Chihuahua", "Egyptian Mau", "English Cocker Spaniel",
        "English Setter", "German Shorthaired", "Great Pyrenees", "Havanese", "Japanese Chin", "Keeshond",
        "Leonberger", "Maine Coon", "Miniature Pinscher", "Newfoundland", "Persian", "Pomeranian", "Pug", "Ragdoll",
        "Russian Blue", "Saint Bernard", "Samoyed", "Scottish Terrier", "Shiba Inu", "Siamese", "Sphynx",
        "Staffordshire Bull Terrier", "Wheaten Terrier", "Yorkshire Terrier",
    )  # fmt: skip

    size: int = 96

    def load(self) -> dict[str, Split]:
        splits = {"train": "trainval", "test": "test"}
        files = files_of_torchvision("OxfordIIITPet", self.classes, splits)
        return photographs("pets", self.classes, self.size, files, validation=20)
