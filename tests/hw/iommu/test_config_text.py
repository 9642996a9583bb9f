"""Configurations as a person writes them."""
import pytest

from hw.iommu.config import CONFIGS, IommuConfig
from hw.iommu.config_text import ConfigRefused, read_config


@pytest.mark.parametrize("name", ["small", "default", "large"])
def test_a_name_is_a_configuration(name):
    assert read_config(name) == (name, CONFIGS[name])


def test_the_named_ones_are_of_the_sizes_that_they_promise():
    assert CONFIGS["default"] == IommuConfig()
    small, large = CONFIGS["small"], CONFIGS["large"]
    assert (small.iotlb_sets, small.iotlb_ways, small.walk_slots, small.waiters) == (4, 2, 4, 16)
    assert (large.iotlb_sets, large.iotlb_ways, large.walk_slots, large.waiters, large.memory_word_bits) == (256, 4, 64, 256, 512)


@pytest.mark.parametrize(("text", "name", "config"), [
    ("walk_slots=8", "default-walk_slots-8", IommuConfig(walk_slots=8)),
    ("default, walk_slots=8 , waiters=0x20", "default-walk_slots-8-waiters-32", IommuConfig(walk_slots=8, waiters=32)),
    ("large,memory_word_bits=128,walk_slots=16", "large-memory_word_bits-128-walk_slots-16", None),
])
def test_changes_stand_on_top_of_a_named_one(text, name, config):
    found, changed = read_config(text)
    assert found == name
    assert config is None or changed == config
    assert config is not None or (changed.memory_word_bits, changed.walk_slots, changed.iotlb_sets) == (128, 16, 256)


def test_a_file_may_name_its_base(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "small"\nwalk_slots = 2\n')
    name, config = read_config(str(path))
    assert (name, config.walk_slots, config.iotlb_sets) == ("mine", 2, 4)
    path.write_text("waiters = 32\n")
    assert read_config(str(path)) == ("mine", IommuConfig(waiters=32))


@pytest.mark.parametrize(("text", "sentence"), [
    ("huge", "'huge' is no configuration: there are small, default, large; or write name=value, or the path of a .toml file"),
    ("", "'' is no configuration"),
    ("small,walk_slots", "'walk_slots' changes nothing: write name=value"),
    ("small,walks=3", "'walks' is no size of a configuration: there are iotlb_sets, "),
    ("walk_slots=many", "walk_slots must be a whole number, not 'many'"),
    ("walk_slots=", "walk_slots must be a whole number, not ''"),
    ("walk_slots=65", "walk_slots must be between 1 and 64, not 65"),
    ("walk_slots=4,walk_slots=5", "walk_slots is set twice"),
    ("small,iotlb_sets=3", "iotlb_sets must be a power of two and at least 2, not 3"),
    ("nowhere.toml", "nowhere.toml cannot be read: No such file"),
])
def test_what_is_no_configuration_is_refused_with_what_would_be_right(text, sentence):
    with pytest.raises(ConfigRefused) as refusal:
        read_config(text)
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize(("written", "sentence"), [
    (b"walk_slots == 3", "is not a TOML file"), (b"\xff\xfe", "is not a TOML file"),
    (b"walk_slots = 2.5", "walk_slots must be a whole number, not 2.5"),
    (b"walk_slots = true", "walk_slots must be a whole number, not True"),
    (b"base = 'tiny'", "'tiny' is no configuration"), (b"base = ['small']", "is no configuration"),
    (b"slots = 2", "'slots' is no size of a configuration"),
])
def test_a_file_that_is_no_configuration_is_refused(written, sentence, tmp_path):
    path = tmp_path / "bad.toml"
    path.write_bytes(written)
    with pytest.raises(ConfigRefused, match=sentence.replace("[", r"\[")):
        read_config(str(path))
