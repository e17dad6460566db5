"""Files and scenarios made wrong: bytes, objects, values, texts. What comes out is a function of a random.Random.

`damaged` changes an HDF5 file in place, `misspelt` gives the bytes of a wrong scenario. Both say what they did.
"""

import hashlib
import json
import math
import tomllib

import h5py
import numpy as np
from attndyn.data import checkpoints, layout
from attndyn.scenarios import toml

NUMBERS = (0, -1, 1, 2, 3, 2**31, 2**63 - 1, -(2**63), 10**12, 10**30, 0.0, -0.0, 0.5, -1.5, 1e-320, 1e-12, 1e308,
    -1e308,
           1e-9, 1e6, math.nan, math.inf, -math.inf)  # fmt: skip
TEXTS = ("", "none", "identity", "softmax", "law", "\0", "\x1b[2J", "\u202e\U0001f600", "a" * 5000,
    "../../../etc/passwd",
         "/etc/passwd", "/dev/zero", "{file}", "%s%n", "$(true)", "nan", "1e999", "sphere", "euclidean",
         "\ud7ff")  # fmt: skip
SECRET = "secret"  # a file beside
LONGEST = 200_000  # bytes of a text that is made


def anything(rng, depth=0):
    """Some value that JSON has."""
    kind = rng.randrange(12 if depth < 3 else 5)
    if kind < 3:
        return rng.choice(NUMBERS)
    if kind == 3:
        return rng.choice(TEXTS)
    if kind == 4:
        return rng.choice((None, True, False))
    if kind < 8:
        return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind < 10:
        return {
            rng.choice((*TEXTS[:6], "file", "name", "kind")): anything(rng, depth + 1) for _ in range(rng.randrange(4))
        }
    if kind == 10:
        return [rng.choice(NUMBERS)] * rng.choice((100, 10_000))
    return nested(rng.choice((10, 50)), rng.choice((list, dict)))


def nested(depth, kind):
    """Tables in tables, or lists in lists."""
    value = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


def changed(rng, value):
    """A value with something in it changed: replaced, removed, renamed, moved, or said twice."""
    places = list(_places(value))
    parent, key = rng.choice(places) if places else (None, None)
    if parent is None:
        return anything(rng)
    way = rng.randrange(12)
    if way < 7 and not isinstance(parent[key], dict):
        parent[key] = near(rng, parent[key]) if rng.random() < 0.7 else anything(rng)
    elif way < 8:
        del parent[key]
    elif way == 8 and isinstance(parent, dict):
        parent[rng.choice((f"{key}x", key[:-1], key.upper(), *TEXTS[:6]))] = parent.pop(key)
    elif way == 9:
        _put(rng, rng.choice(places)[0], key, parent[key])
    elif way == 10:
        other, place = rng.choice(places)
        parent[key], other[place] = other[place], parent[key]  # may be within each other: then a part is lost
    else:
        _put(rng, parent, rng.choice(TEXTS), anything(rng))
    return value if _finite_tree(value) else anything(rng)


def near(rng, value):
    """A value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice(
            (1, 2, 3, 7, 0, -value, value + 1, value - 1, value * 10**6, value * 10**12, 2**64, float(value))
        )
    if isinstance(value, float):
        return rng.choice(
            (
                0.5,
                2.0 * value,
                0.3 * value,
                1e3 * value,
                1e-3 * value,
                0.0,
                -value,
                value * 1e300,
                value * 1e-300,
                math.nan,
                math.inf,
                1e9,
                int(value) if math.isfinite(value) else 0,
            )
        )
    if isinstance(value, str):
        return rng.choice((*TEXTS, value + " ", value.upper(), value[1:], value * 100))
    if isinstance(value, list):
        return rng.choice((value[1:], value + value, [], [value], value * 1000 if len(value) < 100 else value[::-1]))
    return anything(rng)


def _places(value):
    """Every (container, key) in a tree of dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in [*items]:
        yield value, key
        yield from _places(part)


def _put(rng, container, key, value):
    if isinstance(container, dict):
        container[str(key)] = value
    else:
        container.insert(rng.randrange(len(container) + 1), value)


def _finite_tree(value, above=()):
    """Whether no container is within itself."""
    if not isinstance(value, (dict, list)):
        return True
    if id(value) in above or len(above) > 300:
        return False
    parts = value.values() if isinstance(value, dict) else value
    return all(_finite_tree(part, (*above, id(value))) for part in parts)


# Scenarios


def misspelt(rng, text):
    """(bytes, how) of a scenario file made of the text of a good one."""
    how = []
    tables = tomllib.loads(text)
    if rng.random() < 0.75:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            tables = changed(rng, tables)
            how.append("tables")
        try:
            text = toml.write(tables)
        except Exception:  # what TOML cannot hold at all
            text = repr(tables)
    content = text.encode("utf-8", "surrogatepass")
    if not how or rng.random() < 0.1:
        for _ in range(rng.choice((1, 1, 2, 4))):
            way = rng.choice(TEXT_WAYS)
            content = way(rng, content)[:LONGEST]
            how.append(way.__name__)
    return content, ", ".join(how)


def flip(rng, content):
    content = bytearray(content)
    for _ in range(rng.choice((1, 2, 8))):
        if content:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def cut(rng, content):
    return content[: rng.randrange(len(content) + 1)]


def drop(rng, content):
    lines = content.splitlines(keepends=True)
    del lines[rng.randrange(len(lines) + 1) :][: rng.randrange(1, 4)]
    start = rng.randrange(len(lines) + 1)
    return b"".join(lines[:start] + lines[start + rng.randrange(1, 4) :])


def double(rng, content):
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    return b"".join(lines)


def insert(rng, content):
    what = rng.choice((
        b"\0", b"\xff\xfe", b"\xef\xbb\xbf", "\u2028\u202e\U0001f600".encode(), b"[", b"]", b"= ",
        b'"""', b"'''", b"\r", b"#",
        b"[[tokens]]\n", b"[tokens.initial]\n", b"a.b.c = 1\n", b"x = 1979-05-27T07:32:00Z\n",
        b"x = 0x" + b"f" * 3000 + b"\n",
        b"x = 1e999999999\n", b"x = " + b"9" * 5000 + b"\n", b"x = " + b"[" * 3000 + b"]" * 3000 + b"\n",
        b"x = " + b"{a=" * 900 + b"1" + b"}" * 900 + b"\n", b".".join([b"a"] * 3000) + b" = 1\n",
        b"[" + b".".join([b"a"] * 3000) + b"]\n",
        b"x = [" + b"1," * 50_000 + b"]\n", b'"' + b"k" * 50_000 + b'" = 1\n',
    ))  # fmt: skip
    place = rng.randrange(len(content) + 1)
    if rng.random() < 0.7:  # between two lines
        place = content.find(b"\n", place) + 1
    return content[:place] + what + content[place:]


def swap(rng, content):
    """The values of two keys."""
    lines = content.splitlines()
    keyed = [k for k, line in enumerate(lines) if b"=" in line]
    if len(keyed) < 2:
        return content
    one, other = rng.sample(keyed, 2)
    (a, _, x), (b, _, y) = lines[one].partition(b"="), lines[other].partition(b"=")
    lines[one], lines[other] = a + b"=" + y, b + b"=" + x
    return b"\n".join(lines)


TEXT_WAYS = (flip, cut, drop, double, insert, insert, swap)


# Bytes of files


def flip_bytes(rng, content):
    for _ in range(rng.choice((1, 1, 2, 16, 256))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def set_bytes(rng, content):
    for _ in range(rng.choice((1, 1, 2, 16))):
        content[rng.randrange(len(content))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def start_bytes(rng, content):
    """In the superblock and what follows it."""
    for _ in range(rng.choice((1, 2, 4))):
        content[rng.randrange(min(len(content), rng.choice((16, 48, 512))))] = rng.randrange(256)


def signature_bytes(rng, content):
    """Near the signature of one of HDF5's own structures."""
    sign = rng.choice((b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"BTHD", b"BTLF", b"FSHD", b"FSSE", b"FAHD", b"EAHD",
    b"EAIB",
                       b"EASB", b"EADB", b"SNOD", b"TREE", b"HEAP", b"GCOL"))  # fmt: skip
    places, found = [], content.find(sign)
    while found >= 0:
        places.append(found)
        found = content.find(sign, found + 1)
    place = rng.choice(places) if places else 0
    for _ in range(rng.choice((1, 1, 3))):
        content[min(place + rng.randrange(64), len(content) - 1)] = rng.randrange(256)


def blank(rng, content):
    start = rng.randrange(len(content))
    length = rng.choice((1, 16, 512, 4096, 65536))
    content[start : start + length] = bytes(len(content[start : start + length]))


def overlay(rng, content):
    """A piece of the file over another."""
    start, other = rng.randrange(len(content)), rng.randrange(len(content))
    length = min(rng.choice((8, 64, 4096)), len(content) - start, len(content) - other)
    content[other : other + length] = content[start : start + length]


def cut_short(rng, content):
    whole = len(content)
    del content[
        rng.choice(
            (rng.randrange(whole), rng.randrange(min(whole, 1000)), whole - 1 - rng.randrange(min(whole, 4096)))
        ) :
    ]


def lengthen(rng, content):
    content += bytes(rng.randrange(256) for _ in range(rng.choice((1, 100, 5000))))


BYTE_WAYS = (flip_bytes, set_bytes, start_bytes, signature_bytes, blank, overlay, cut_short, cut_short, lengthen)


# Objects of files


def names_of(file):
    """Every object of a file but the root."""
    names = []
    file.visit(names.append)
    return names


def dataset_of(rng, file):
    """One whose values are its own: HDF5 itself may crash on reading what `elsewhere` made."""
    return rng.choice([name for name in names_of(file) if _is_own(file[name])])


def _is_own(found):
    return isinstance(found, h5py.Dataset) and not found.is_virtual and not found.external


def remove(rng, file):
    del file[rng.choice(names_of(file))]


def relink(rng, file):
    """Another link in the place of an object."""
    names = names_of(file)
    name, other = rng.choice(names), rng.choice([*names, "/"])
    links = (
        lambda: h5py.SoftLink(f"/{other}"), lambda: h5py.SoftLink("/nowhere"), lambda: h5py.SoftLink(f"/{name}"),
        lambda: h5py.ExternalLink(SECRET, "/"), lambda: h5py.ExternalLink("nowhere.h5", "/"),
        lambda: h5py.ExternalLink(str(file.filename), f"/{other}"), lambda: h5py.ExternalLink("/dev/zero", "/"),
        lambda: file[other], lambda: file[name.rpartition("/")[0] or "/"],
    )  # fmt: skip
    link = rng.choice(links)()
    if rng.random() < 0.3:  # beside it: a cycle, or a name that is not known
        name = f"{name.rpartition('/')[0]}/another"
        if name in file:
            return
    elif name in file:
        del file[name]
    if name.rpartition("/")[0] in ("", *names):
        file[name] = link


def retype(rng, file):
    """Another dataset, of another type or shape, in the place of one."""
    name = dataset_of(rng, file)
    old = file[name]
    shape = rng.choice(
        (
            old.shape,
            old.shape,
            (),
            (0,),
            (1,),
            (*old.shape, 1),
            old.shape[1:],
            tuple(n + 1 for n in old.shape),
            (3,) * 12,
        )
    )
    kind = rng.choice(("f2", "f4", "f8", ">f8", "g", "i1", "i8", "u1", ">u8", "c16", "S8", "S0", "V5", "?",
    "(2,)f8", h5py.string_dtype(),
                       h5py.vlen_dtype("f8"), h5py.enum_dtype({"a": 1}), h5py.ref_dtype, h5py.regionref_dtype,
                       [("a", "f8"), ("b", "i4")],
                       old.dtype, old.dtype))  # fmt: skip
    del file[name]
    if isinstance(kind, str) and kind == "S0":
        file.create_dataset(name, data=h5py.Empty("S8"))
    else:
        file.create_dataset(name, shape, np.dtype(kind))


def revalue(rng, file):
    """Other numbers in a dataset."""
    name = dataset_of(rng, file)
    found = file[name]
    if found.dtype.kind not in "fiu" or not found.size or found.external or found.is_virtual:
        return  # of another file nothing may be overwritten
    values = found[...]
    flat = values.reshape(-1)
    for _ in range(rng.choice((1, 1, 3, 100))):
        number = rng.choice(NUMBERS)
        with np.errstate(all="ignore"):
            if flat.dtype.kind == "f":
                flat[rng.randrange(flat.size)] = np.float64(number)
            else:
                number = rng.randrange(-300, 300) if not math.isfinite(number) or rng.random() < 0.5 else int(number)
                flat[rng.randrange(flat.size)] = np.array([number % 2**64], np.uint64).astype(flat.dtype)[0]
    if rng.random() < 0.2:
        flat[:] = flat[rng.randrange(flat.size)]
    found[...] = values


def reshape(rng, file):
    """A shape of any size, of which not all is stored."""
    name = dataset_of(rng, file)
    old = file[name]
    sizes = (0, 1, 2, 1000, 10**6, 10**9, 2**40, 2**62)
    if old.maxshape and None in old.maxshape and rng.random() < 0.6:
        old.resize(rng.choice(sizes), axis=0)
        return
    shape = tuple(rng.choice((n, n, rng.choice(sizes))) for n in old.shape) or (rng.choice(sizes),)
    dtype, values = old.dtype, old[...] if old.size < 10_000 else None
    del file[name]
    chunks = tuple(max(1, min(n, 64)) for n in shape) if rng.random() < 0.7 else None
    options = {"chunks": chunks, "maxshape": (None,) * len(shape)} if chunks else {}
    if chunks and rng.random() < 0.1:
        options["chunks"] = (2**26,) + (1,) * (len(shape) - 1)
        options["maxshape"] = (None,) * len(shape)
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if not chunks:  # contiguous, with no room taken
        creation.set_alloc_time(h5py.h5d.ALLOC_TIME_LATE)
        creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple(shape) if 0 not in shape or math.prod(shape) == 0 else None
        h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, creation)
        return
    made = file.create_dataset(name, shape, dtype, **options)
    if values is not None and rng.random() < 0.5 and 0 < math.prod(made.chunks or shape) < 10**6:
        part = tuple(slice(0, min(a, b)) for a, b in zip(shape, values.shape, strict=False))
        if len(part) == values.ndim == len(shape):
            made[part] = values[part]


def refilter(rng, file):
    """The same values behind other filters; or a few bytes that inflate to very many."""
    name = dataset_of(rng, file)
    old = file[name]
    values = old[...]
    if not old.shape or 0 in old.shape or old.dtype.kind not in "fiu":
        return
    del file[name]
    way = rng.randrange(7)
    if way == 0:
        file.create_dataset(
            name, data=values, compression="gzip", shuffle=True, fletcher32=True, maxshape=(None, *values.shape[1:])
        )
    elif way == 1:
        file.create_dataset(name, data=values, compression="lzf", maxshape=(None, *values.shape[1:]))
    elif way == 2:
        file.create_dataset(name, data=values, scaleoffset=2)
    elif way < 5:  # a filter that there is not, or zeros that were deflated
        made = file.create_dataset(name, values.shape, values.dtype, chunks=values.shape,
        maxshape=(None,) * values.ndim,
                                   compression="gzip")  # fmt: skip
        made.id.write_direct_chunk(
            (0,) * values.ndim, rng.randbytes(rng.choice((1, 100, 3000))), filter_mask=rng.choice((0, 1, 0xFF))
        )
    elif way == 5:
        shape = (rng.choice((10**6, 10**7, 2 * 10**7)), *values.shape[1:])
        size = min(shape[0], 2**20)
        made = file.create_dataset(name, shape, values.dtype, chunks=(size, *values.shape[1:]),
        maxshape=(None,) * values.ndim,
                                   compression="gzip")  # fmt: skip
        if math.prod(made.chunks) * values.dtype.itemsize < 2**26:
            made[:size] = 0
    elif values.size < 2000:
        file.create_dataset(
            name, data=values, chunks=(1,) * values.ndim, maxshape=(None,) * values.ndim, fletcher32=True
        )


def elsewhere(rng, file):
    """Values that are stored in other files."""
    name = dataset_of(rng, file)
    shape, dtype = file[name].shape, file[name].dtype
    if not shape or 0 in shape or dtype.kind not in "fiu":
        return
    del file[name]
    other = rng.choice(("/dev/zero", "nowhere", str(file.filename), ".", SECRET))
    if rng.random() < 0.5:
        size = math.prod(shape) * dtype.itemsize
        file.create_dataset(name, shape, dtype, external=[(other, rng.choice((0, 10**9)), size)])
        return
    target = h5py.VirtualLayout(shape, dtype)
    target[...] = h5py.VirtualSource(other, f"/{name}", shape)
    file.create_virtual_dataset(name, target)


def attributes(rng, file):
    """Attributes removed, of another type, or huge."""
    holders = [name for name in ["/", *names_of(file)] if len(file[name].attrs)]
    found = file[rng.choice(holders)].attrs
    name = rng.choice(list(found))
    if rng.random() < 0.3:
        del found[name]
        return
    value = rng.choice((
        np.bytes_(b"x" * 60_000), np.bytes_(b""), "text", 1, -1, 2**62, math.nan, np.zeros(8000), np.zeros(0), [1,
        2, 3], h5py.Empty("f8"),
        np.bytes_(b"\xff\xfe"), np.array([b"a", b"b"]), np.zeros((2, 2), "i4"), file.ref, np.array((1, 2.0), [("a",
        "i4"), ("b", "f8")]),
        np.array(["a", "b"], h5py.string_dtype()), np.bytes_(b"attndyn-sweep-1"), np.bytes_(b"attndyn-limit-1"),
        np.bytes_(layout.CONVENTIONS.encode()),
    ))  # fmt: skip
    del found[name]
    found[name] = value


def hostile_text(rng, file):
    """A text of the file, changed, with the sha256 that belongs to it."""
    texts = [name for name in names_of(file) if _is_text(file[name])]
    if not texts:
        return
    name = rng.choice(texts)
    old = file[name][...].tobytes()
    if name == layout.SCENARIO:
        new = misspelt(rng, old.decode())[0] if _is_toml(old) else rng.randbytes(100)
    else:
        try:
            value = json.loads(old)
        except ValueError:
            value = {}
        for _ in range(rng.choice((1, 1, 2, 5))):
            value = changed(rng, value)
        new = json.dumps(value).encode("utf-8", "surrogatepass")
        if rng.random() < 0.1:
            new = rng.choice((b"[" * 100_000, b"9" * 6000, flip(rng, new), b"", b'{"a":' * 5000, b'{"status":1}'))
    replace_text(file, name, new)


def replace_text(file, name, new):
    hashed = "sha256" in file[name].attrs
    del file[name]
    file.create_dataset(name, data=np.frombuffer(new, np.uint8), **({"chunks": (min(len(new), 4092),)} if new else {}))
    if hashed:
        file[name].attrs["sha256"] = np.bytes_(hashlib.sha256(new).hexdigest())


def hostile_checkpoint(rng, file):
    """A checkpoint with other counts, numbers and arrays, and the sha256 that belongs to them."""
    slot = checkpoints.latest(file) if layout.CHECKPOINT in file else None
    if slot is None:
        return hostile_text(rng, file)
    parts = {
        "number": slot.number,
        "frames": slot.frames,
        "merges": slot.merges,
        "record": json.loads(json.dumps(slot.record)),
    }
    arrays = {"tail": dict(slot.tail), "arrays": dict(slot.arrays)}
    for _ in range(rng.choice((1, 1, 2, 4))):
        way = rng.randrange(4)
        if way == 0:
            parts["record"] = changed(rng, parts["record"])
        elif way == 1:
            name = rng.choice(("number", "frames", "merges"))
            parts[name] = rng.choice((0, 1, 2, parts[name] + 1, 10**9, -1, 2.5, None, 10**30))
        else:
            group = rng.choice(("tail", "arrays"))
            if arrays[group]:
                name = rng.choice([*arrays[group]])
                arrays[group][name] = _other_array(rng, np.asarray(arrays[group][name]))
    if not isinstance(parts["record"], dict):
        parts["record"] = {"x": parts["record"]}
    made = checkpoints.Slot(
        parts["number"], parts["frames"], parts["merges"], arrays["tail"], parts["record"], arrays["arrays"]
    )
    packed = checkpoints._packed(made)
    stored = file[layout.CHECKPOINT]
    if len(packed) <= stored.shape[1]:
        stored[rng.randrange(2), : len(packed)] = np.frombuffer(packed, np.uint8)


def _other_array(rng, values):
    way = rng.randrange(6)
    if way == 0:
        return values[:-1] if values.ndim else values
    if way == 1:
        return values.astype(rng.choice(("f4", "i8", "u1", "?", ">f8")))
    if way == 2:
        return values.reshape(-1)
    if way == 3:
        return np.concatenate([values, values]) if values.ndim else values
    if way == 4:
        return np.zeros((0, 3))
    values = values.astype(np.float64).copy()
    if values.size:
        values.reshape(-1)[rng.randrange(values.size)] = rng.choice(NUMBERS)
    return values


def _is_text(found):
    return _is_own(found) and found.dtype == np.uint8 and found.ndim == 1 and 0 < found.size < 10**6


def _is_toml(content):
    try:
        tomllib.loads(content.decode())
    except ValueError:
        return False
    return True


OBJECT_WAYS = (remove, relink, relink, retype, retype, revalue, revalue, reshape, reshape, refilter, elsewhere,
    attributes,
               hostile_text, hostile_text, hostile_text, hostile_text, hostile_checkpoint)  # fmt: skip


def damaged(rng, path):
    """How the file at `path` was changed: in its bytes, or as an HDF5 file with anything in it."""
    if rng.random() < 0.4:
        content = bytearray(path.read_bytes())
        ways = [rng.choice(BYTE_WAYS) for _ in range(rng.choice((1, 1, 1, 2)))]
        for way in ways:
            if content:
                way(rng, content)
        path.write_bytes(content)
        return [way.__name__ for way in ways]
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        way = rng.choice(OBJECT_WAYS)
        try:
            with h5py.File(path, "r+", libver=("v110", "v110")) as file:
                way(rng, file)
            done.append(way.__name__)
        except Exception as error:  # what HDF5 does not let be written, after what was done before
            done.append(f"{way.__name__} ({type(error).__name__})")
    return done
