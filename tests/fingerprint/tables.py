"""Pairs of sources whose fingerprints differ, and pairs whose fingerprints are equal.

A row is a source that defines `it`, and two texts for its `$`.
"""

# What code does.
CODE = {
    "a constant": ("def it(): return $", "1", "9"),
    "the class of a constant": ("def it(): return $", "1", "1.0"),
    "a truth value": ("def it(): return $", "1", "True"),
    "the sign of zero": ("def it(): return $", "0.0", "-0.0"),
    "text and bytes": ("def it(): return $", "'a'", "b'a'"),
    "a constant in a tuple": ("def it(x): return x in (1, $)", "2", "2.0"),
    "a constant in a set": ("def it(x): return x in {1, $}", "2", "3"),
    "a huge constant": ("def it(): return 10 ** 5000 + 3, $", "1", "2"),
    "an operator": ("def it(x): return x $ 2", "+", "-"),
    "a comparison": ("def it(x): return x $ 2", "<", "<="),
    "an attribute": ("def it(x): return x.$", "left", "right"),
    "the order of arguments": ("def it(x, y): return $", "x - y", "y - x"),
    "a nested function": ("def it():\n def f(): return $\n return f", "1", "9"),
    "a nested class": ("def it():\n class A:\n  x = $\n return A", "1", "9"),
    "a nested generic function": (
        "def it():\n def f(x: list = [$]): return x\n return f",
        "1",
        "9",
    ),
    "a comprehension": ("def it(): return [x * $ for x in range(3)]", "1", "9"),
    "two lambdas of one line": ("it = (lambda: 1, lambda: 9)[$]", "0", "1"),
    "an exception that is caught": (
        "def it():\n try: f()\n except $: return 1",
        "OSError",
        "KeyError",
    ),
    "the range of a try": (
        "def it():\n try:\n  f()$ pass\n except OSError: pass\n g()",
        ";",
        "\n except OSError: pass\n try:\n ",
    ),
    "a default": ("def it(x=$): return x", "1", "9"),
    "a default that is a list": ("def it(x=[1, $]): return x", "1", "9"),
    "a keyword's default": ("def it(*, x=$): return x", "1", "9"),
    "which argument has the default": ("def it(*, x=$): return x, y", "1", "2"),
    "an attribute of a function": ("def it(): return 1\nit.gain = $", "1", "9"),
    "a generator": ("def it():\n $ 1", "yield", "return"),
    "a coroutine": ("$def it(): return 1", "async ", ""),
    "an asynchronous constant": ("async def it(): return $", "1", "9"),
    "a closure": ("def f(g):\n return lambda: g\nit = f($)", "1", "9"),
    "a closure of a closure": (
        "def f(g):\n def h(): return g\n return lambda: h()\nit = f($)",
        "1",
        "9",
    ),
    "a closure over a class": (
        "def f(g):\n class A:\n  gain = g\n return lambda: A()\nit = f($)",
        "1",
        "9",
    ),
    "a closure over a loop's variable": (
        "fs = [lambda n=n: n for n in (50, 10)]\nit = fs[$]",
        "0",
        "1",
    ),
    "an empty closure": (
        "def f():\n def g(): return h\n if $: h = 1\n return g\nit = f()",
        "0",
        "1",
    ),
    "a decorator": (
        "import functools\ndef by(k):\n def f(g):\n  @functools.wraps(g)\n"
        "  def h(*a): return k * g(*a)\n  return h\n return f\n@by($)\ndef it(): return 1",
        "1",
        "9",
    ),
    "functools.lru_cache": (
        "import functools\n@functools.lru_cache(None)\ndef it(): return $",
        "1",
        "9",
    ),
    "functools.singledispatch": (
        "import functools\n@functools.singledispatch\ndef it(x): return 1\n"
        "@it.register\ndef _(x: int): return $",
        "1",
        "9",
    ),
    "contextlib.contextmanager": (
        "import contextlib\n@contextlib.contextmanager\ndef it(): yield $",
        "1",
        "9",
    ),
    "numba.njit": ("import numba\n@numba.njit\ndef it(x): return x + $", "1", "9"),
    "an option of numba": ("import numba\n@numba.njit(fastmath=$)\ndef it(x): return x", "0", "1"),
    "a function that a jitted one calls": (
        "import numba\n@numba.njit\ndef f(x): return x + $\n@numba.njit\ndef it(x): return f(x)",
        "1",
        "9",
    ),
    "numpy.vectorize": ("import numpy as np\nit = np.vectorize(lambda x: x + $)", "1", "9"),
}
# The names that code takes from around it.
GLOBALS = {
    "a number": ("G = $\ndef it(): return G", "1", "9"),
    "a list": ("G = [1, $]\ndef it(): return G", "1", "9"),
    "an entry of a dict": ("G = {'a': {'b': $}}\ndef it(): return G['a']['b']", "1", "9"),
    "a helper two levels deep": (
        "def f(): return $\ndef g(): return f()\ndef it(): return g()",
        "1",
        "9",
    ),
    "an instance's attribute": (
        "class A: pass\na = A()\na.gain = $\ndef it(): return a.gain",
        "1",
        "9",
    ),
    "a class attribute": ("class A: gain = $\ndef it(): return A.gain", "1", "9"),
    "a class attribute set later": (
        "class A: pass\nA.gain = $\ndef it(): return A.gain",
        "1",
        "9",
    ),
    "a function assigned at run time": (
        "def f(): return 1\ndef g(): return 2\nh = $\ndef it(): return h()",
        "f",
        "g",
    ),
    "missing, then defined": ("def it(): return G\n$", "", "G = 1"),
    "a builtin that is hidden": ("$\ndef it(x): return len(x)", "", "len = max"),
    "in a nested function": ("G = $\ndef it():\n return [lambda: G]", "1", "9"),
    "through globals()": ("G = $\ndef it(): return globals()['G']", "1", "9"),
    "through eval": ("G = $\ndef it(): return eval('G')", "1", "9"),
    "a function of a library": ("import math\ndef it(x): return math.$(x)", "sin", "cos"),
    "a library's function under one name": (
        "from math import $ as f\ndef it(x): return f(x)",
        "sin",
        "cos",
    ),
    "a module under one name": ("import $ as m\ndef it(x): return m.sqrt(x)", "math", "cmath"),
    "a module made by hand": (
        "import types\nm = types.ModuleType('json')\nm.G = $\ndef it(): return m.G",
        "1",
        "9",
    ),
    "mutual recursion": ("def f(): return it() + $\ndef it(): return f()", "1", "9"),
    "more than 256 names": (
        "import types\nm = types.SimpleNamespace(z=$)\n"
        + "def it():\n"
        + "".join(f" len.a{i}\n" for i in range(300))
        + " return m.z",
        "1",
        "9",
    ),
}
CLASSES = {
    "a method": ("class it:\n def f(self): return $", "1", "9"),
    "the name of a method": ("class it:\n def $(self): return 1", "step", "stop"),
    "a base class": ("class A: pass\nclass B: pass\nclass it($): pass", "A", "B"),
    "the order of bases": ("class A: x = 1\nclass B: x = 2\nclass it($): pass", "A, B", "B, A"),
    "a method of a base": ("class A:\n def f(self): return $\nclass it(A): pass", "1", "9"),
    "a base of a base": ("class A: x = $\nclass B(A): pass\nclass it(B): pass", "1", "9"),
    "a base that is a library's": (
        "import gymnasium as gym\nclass it($): pass",
        "gym.Env",
        "gym.Wrapper",
    ),
    "a metaclass": ("class M(type):\n def f(c): return $\nclass it(metaclass=M): pass", "1", "9"),
    "__init_subclass__": (
        "class A:\n def __init_subclass__(cls, k): cls.k = k\nclass it(A, k=$): pass",
        "1",
        "9",
    ),
    "a property": ("class it:\n @property\n def f(self): return $", "1", "9"),
    "a property's setter": (
        "class it:\n @property\n def f(self): return 1\n @f.setter\n def f(self, x): self.y = $",
        "1",
        "9",
    ),
    "a classmethod": ("class it:\n @classmethod\n def f(cls): return $", "1", "9"),
    "the kind of a method": ("class it:\n @$\n def f(x): return 1", "classmethod", "staticmethod"),
    "a cached_property": (
        "import functools\nclass it:\n @functools.cached_property\n def f(self): return $",
        "1",
        "9",
    ),
    "a partialmethod": (
        "import functools\nclass it:\n def f(self, x): pass\n g = functools.partialmethod(f, $)",
        "1",
        "9",
    ),
    "a singledispatchmethod": (
        "import functools\nclass it:\n @functools.singledispatchmethod\n def f(self, x): return $",
        "1",
        "9",
    ),
    "slots": ("class it: __slots__ = ('a', '$')", "b", "c"),
    "a class attribute": ("class it: gain = $", "1", "9"),
    "an attribute that is an array": (
        "import numpy as np\nclass it: gain = np.array([1, $])",
        "1",
        "9",
    ),
    "the name of a class": ("class A: pass\nclass B: pass\nit = $", "A", "B"),
    "a decorated class": (
        "def by(k):\n def f(c):\n  c.step = lambda self: k\n  return c\n return f\n"
        "@by($)\nclass it: pass",
        "1",
        "9",
    ),
    "a dataclass's default": (
        "import dataclasses\n@dataclasses.dataclass\nclass it: gain: int = $",
        "1",
        "9",
    ),
    "a dataclass's factory": (
        "import dataclasses\n@dataclasses.dataclass\nclass it:\n"
        " gain: list = dataclasses.field(default_factory=lambda: [$])",
        "1",
        "9",
    ),
    "an option of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass($)\nclass it: gain: int = 1",
        "order=True",
        "order=False",
    ),
    "a NamedTuple's default": (
        "import typing\nclass it(typing.NamedTuple):\n gain: int = $",
        "1",
        "9",
    ),
    "the value of an Enum": ("import enum\nclass it(enum.Enum): A = $", "1", "9"),
    "the order of an Enum's values": (
        "import enum\nclass it(enum.Enum):\n A = $\n B = 3 - A",
        "1",
        "2",
    ),
    "a mixin": (
        "class M:\n def f(self): return $\nclass A: pass\nclass it(M, A): pass",
        "1",
        "9",
    ),
    "what super() leads to": (
        "class A:\n def f(self): return $\nclass it(A):\n def f(self): return super().f()",
        "1",
        "9",
    ),
    "a method added later": ("class it: pass\nit.f = lambda self: $", "1", "9"),
    "a global of a method": ("G = $\nclass it:\n def f(self): return G", "1", "9"),
    "a user's descriptor": (
        "class D:\n def __init__(self, k): self.k = k\n def __get__(self, *a): return self.k\n"
        "class it: gain = D($)",
        "1",
        "9",
    ),
    "a class made by type()": ("it = type('A', (), {'gain': $})", "1", "9"),
    "an abstract class": (
        "import abc\nclass it(abc.ABC):\n @abc.abstractmethod\n def f(self): return $",
        "1",
        "9",
    ),
}
OBJECTS = {
    "an attribute": ("class A: pass\nit = A()\nit.gain = $", "1", "9"),
    "an attribute of an attribute": ("class A: pass\nit = A()\nit.b = A()\nit.b.c = $", "1", "9"),
    "what calling does": ("class A:\n def __call__(self): return $\nit = A()", "1", "9"),
    "a slot": ("class A: __slots__ = ('x',)\nit = A()\nit.x = $", "1", "9"),
    "a mangled slot": (
        "class A:\n __slots__ = ('__x',)\n def __init__(self, x): self.__x = x\nit = A($)",
        "1",
        "9",
    ),
    "a mangled slot of a base": (
        "class A:\n __slots__ = ('__x',)\n def __init__(self, x): self.__x = x\n"
        "class B(A): __slots__ = ()\nit = B($)",
        "1",
        "9",
    ),
    "a bound method's object": (
        "class A:\n def __init__(self, g): self.g = g\n def f(self): return self.g\nit = A($).f",
        "1",
        "9",
    ),
    "a bound method": ("class A:\n def f(self): pass\n g = lambda s: 1\nit = A().$", "f", "g"),
    "a method of a builtin object": ("it = [1, $].append", "1", "9"),
    "a method of a builtin class": ("it = str.$", "upper", "lower"),
    "an operator": ("import operator\nit = operator.$(1)", "itemgetter", "attrgetter('a') or int"),
    "a partial's function": ("from functools import partial\nit = partial($, 1)", "max", "min"),
    "a partial's argument": ("from functools import partial\nit = partial(max, $)", "1", "9"),
    "a partial's keyword": ("from functools import partial\nit = partial(max, key=$)", "1", "9"),
    "a partial of a partial": (
        "from functools import partial\nit = partial(partial(lambda x, y: x, $), y=1)",
        "1",
        "9",
    ),
    "a subclass of partial": (
        "from functools import partial\nclass P(partial): pass\nit = P(max)\nit.x = $",
        "1",
        "9",
    ),
    "updated like a wrapper, with state": (
        "import functools\ndef f(): pass\nclass A:\n def __init__(self, g):\n  self.g = g\n"
        "  functools.update_wrapper(self, f)\nit = A($)",
        "1",
        "9",
    ),
    "the order of a subclass of OrderedDict": (
        "import collections\nclass A(collections.OrderedDict): pass\nit = A([$])",
        "(1, 1), (2, 2)",
        "(2, 2), (1, 1)",
    ),
    "the factory of a subclass of defaultdict": (
        "import collections\nclass A(collections.defaultdict): pass\nit = A($)",
        "int",
        "list",
    ),
    "a slot of a subclass of deque": (
        "import collections\nclass A(collections.deque): __slots__ = 'x',\nit = A()\nit.x = $",
        "1",
        "9",
    ),
    "what a subclass of ModuleType does": (
        "import types\nclass A(types.ModuleType):\n"
        " def __getattr__(self, n): return $\nit = A('a')",
        "1",
        "9",
    ),
    "what a subclass of weakref adds": (
        "import weakref\nclass A(weakref.ref): pass\nit = A(int)\nit.x = $",
        "1",
        "9",
    ),
    "what a subclass of property adds": (
        "class A(property): pass\nit = A()\nit.x = $",
        "1",
        "9",
    ),
    "what a subclass of a NumPy scalar adds": (
        "import numpy as np\nclass A(np.float64): pass\nit = A(1)\nit.x = $",
        "1",
        "9",
    ),
    "an exception's attribute": (
        "class E(ValueError): pass\nit = E(1)\nit.x = $",
        "1",
        "9",
    ),
    "one generator or two": (
        "import random\na, b = random.Random(1), random.Random(1)\nit = [a, $]",
        "a",
        "b",
    ),
    "an environment": (
        "import gymnasium\nclass E(gymnasium.Env): pass\nit = E()\nit.gain = $",
        "1",
        "9",
    ),
    "a wrapper of a lambda": (
        "import gymnasium as gym\nit = lambda: gym.wrappers.TimeLimit(gym.make('CartPole-v1'), $)",
        "10",
        "20",
    ),
    "a namespace": ("import types\nit = types.SimpleNamespace(gain=$)", "1", "9"),
    "a weak reference": (
        "import weakref\nclass A: pass\nA.kept = A()\nA.kept.x = $\n"
        "it = A, weakref.ref(A.kept)\nA.kept.ref = it",
        "1",
        "9",
    ),
    "a proxy of a dict": ("import types\nit = types.MappingProxyType({'a': $})", "1", "9"),
    "an exception": ("it = ValueError($)", "1", "9"),
    "a member of an Enum": ("import enum\nclass A(enum.Enum): a, b = 1, 2\nit = A.$", "a", "b"),
    "a Flag": ("import enum\nclass A(enum.Flag): a, b = 1, 2\nit = A.a | A.$", "a", "b"),
    **{
        f"a subclass of {kind}": (f"class A({kind}): pass\nit = A({value})\nit.x = $", "1", "9")
        for kind, value in {
            "dict": "{1: 2}",
            "list": "[1]",
            "int": "3",
            "float": "3.0",
            "str": "'a'",
            "tuple": "(1,)",
            "set": "{1}",
            "bytes": "b'a'",
        }.items()
    },
    **{
        f"the content of a subclass of {kind}": (f"class A({kind}): pass\nit = A({value})", a, b)
        for kind, value, a, b in [
            ("dict", "{1: $}", "2", "3"),
            ("list", "[$]", "1", "2"),
            ("int", "$", "1", "2"),
            ("float", "$", "0.0", "-0.0"),
            ("str", "$", "'a'", "'b'"),
            ("tuple", "($,)", "1", "2"),
            ("set", "{$}", "1", "2"),
            ("bytes", "b'$'", "a", "b"),
            ("bytearray", "b'$'", "a", "b"),
            ("complex", "$", "1j", "2j"),
        ]
    },
    **{
        f"the content of a subclass of {module}.{kind}": (
            f"import {module}\nclass A({module}.{kind}): pass\nit = A({value})",
            a,
            b,
        )
        for module, kind, value, a, b in [
            ("collections", "deque", "[$]", "1", "2"),
            ("collections", "OrderedDict", "{1: $}", "1", "2"),
            ("collections", "Counter", "{1: $}", "1", "2"),
            ("collections", "UserDict", "{1: $}", "1", "2"),
            ("datetime", "date", "2020, 1, $", "1", "2"),
            ("decimal", "Decimal", "$", "1", "2"),
            ("fractions", "Fraction", "$", "1", "2"),
            ("random", "Random", "$", "1", "2"),
            ("pathlib", "PurePosixPath", "'$'", "a", "b"),
        ]
    },
}
DATA = {
    "a number": ("it = $", "1", "9"),
    **{
        f"{a} and {b}": ("it = [$]", a, b)
        for a, b in [
            *[("1", "1.0"), ("1", "True"), ("1", "'1'"), ("0.0", "-0.0"), ("b'a'", "'a'")],
            *[("None", "'None'"), ("0", "None"), ("1j", "1"), ("float('nan')", "float('inf')")],
            *[("...", "None"), ("bytearray(b'a')", "b'a'"), ("NotImplemented", "...")],
        ]
    },
    "where one text ends": ("it = ['$']", "a', 'b", "a\\0str b"),
    "a lone surrogate": ("it = ['$']", "\\ud800", "\\ud801"),
    "the order of a list": ("it = [$]", "1, 2", "2, 1"),
    "the depth of a list": ("it = $", "[[1], 2]", "[[1, 2]]"),
    "the class of a sequence": ("it = $", "(1, 2)", "[1, 2]"),
    "the class of a set": ("it = $", "{1, 2}", "frozenset({1, 2})"),
    "an entry of a set of sets": ("it = {frozenset({1}), frozenset({$})}", "2", "3"),
    "how often": ("it = [$]", "1, 1", "1"),
    "an empty container": ("it = $", "[]", "()"),
    "a key": ("it = {$: 1}", "1", "'1'"),
    "a key that is a tuple": ("it = {(1, $): 1}", "1", "2"),
    "which value is whose": ("it = {(1,): $}", "[1], (2,): [2]", "[2], (2,): [1]"),
    "one list or two": ("a, b = [1], [1]\nit = [a, $]", "a", "b"),
    "a list that holds itself": ("it = [1, $]\nit.append(it)", "1", "9"),
    "where a cycle leads": ("a = [1]\nb = [2, a]\na.append($)\nit = a, b", "a", "b"),
    "where a distant cycle leads": (
        "r, s, t = [], [], []\nr += [[s], [t]]\ns += [r]\nt += [$]\nit = r",
        "r",
        "t",
    ),
    "a ring": ("it = a = []\nfor k in range($):\n b = [a]\n a = b\nit.append(a)", "5", "6"),
    "a bytearray": ("it = bytearray(b'$')", "a", "b"),
    "a range": ("it = range($)", "1", "9"),
    "a slice": ("it = slice(1, $)", "1", "9"),
    "a slice of objects": ("class A: pass\na = A()\na.x = $\nit = slice(a)", "1", "9"),
    "an iterator's position": ("it = iter([1, 1])\n$", "", "next(it)"),
    "a path": ("import pathlib\nit = pathlib.Path('$')", "a", "b"),
    "a pattern": ("import re\nit = re.compile('$')", "a", "b"),
    "a pattern's flags": ("import re\nit = re.compile('a', $)", "0", "re.I"),
    "a decimal": ("import decimal\nit = decimal.Decimal('$')", "1", "1.0"),
    "a fraction": ("import fractions\nit = fractions.Fraction(1, $)", "2", "3"),
    "a date": ("import datetime\nit = datetime.datetime(2020, 1, $)", "1", "2"),
    "a duration": ("import datetime\nit = datetime.timedelta($)", "1", "2"),
    "a deque": ("import collections\nit = collections.deque([$], 5)", "1", "2"),
    "the length of a deque": ("import collections\nit = collections.deque([1], $)", "1", "2"),
    "the order of an OrderedDict": (
        "import collections\nit = collections.OrderedDict([$])",
        "(1, 1), (2, 2)",
        "(2, 2), (1, 1)",
    ),
    "a defaultdict's factory": (
        "import collections\nit = collections.defaultdict($)",
        "int",
        "list",
    ),
    "a defaultdict": (
        "import collections\nit = collections.defaultdict(int, {1: $})",
        "1",
        "2",
    ),
    "a Counter": ("import collections\nit = collections.Counter('$')", "aab", "abb"),
    "a ChainMap": ("import collections\nit = collections.ChainMap({1: $}, {2: 2})", "1", "2"),
    "a namedtuple": (
        "import collections\nit = collections.namedtuple('P', 'x y')(1, $)",
        "1",
        "2",
    ),
    "a namedtuple's fields": (
        "import collections\nit = collections.namedtuple('P', '$')(1, 2)",
        "x y",
        "y x",
    ),
    "a context variable": (
        "import contextvars\nit = contextvars.ContextVar('v')\nit.set($)",
        "1",
        "2",
    ),
    "a context variable's default": (
        "import contextvars\nit = contextvars.ContextVar('v', default=$)",
        "1",
        "2",
    ),
    "a logger": ("import logging\nit = logging.getLogger('$')", "a", "b"),
    "a type": ("it = $", "list[int]", "list[str]"),
    "a union": ("it = $", "int | str", "int | None"),
    "a type of typing": ("import typing\nit = typing.Callable[[$], int]", "int", "str"),
    "a random state": ("import random\nit = random.Random($)", "1", "2"),
    "an array.array": ("import array\nit = array.array('i', [$])", "1", "2"),
    "a SHA of texts": ("it = '$'", "a", "b"),
}
ARRAYS = {
    name: (f"import numpy as np\nit = {source}", a, b)
    for name, (source, a, b) in {
        "a value": ("np.array([1, $])", "1", "2"),
        "the class": ("np.array([1, 2], np.$)", "int32", "int64"),
        "the shape": ("np.zeros($)", "(2, 3)", "(3, 2)"),
        "the number of dimensions": ("np.zeros($)", "1", "(1, 1)"),
        "empty": ("np.zeros($)", "(0, 2)", "(0, 3)"),
        "the sign of zero": ("np.array([$])", "0.0", "-0.0"),
        "the order of bytes": ("np.array([1, 2], '$')", "<i4", ">i4"),
        "an array or a list": ("$([1, 2])", "np.array", "list"),
        "objects": ("np.array([1, '$'], object)", "a", "b"),
        "nested objects": ("np.array([1, [$]], object)", "1", "2"),
        "a field": ("np.array([(1, $)], [('a', 'i4'), ('b', 'f4')])", "1", "2"),
        "a field's name": ("np.array([(1, 2)], [('a', 'i4'), ('$', 'f4')])", "b", "c"),
        "a scalar": ("np.float64($)", "1", "2"),
        "a scalar and a number": ("$(1)", "np.float64", "float"),
        "the class of a scalar": ("np.$(1)", "float64", "float32"),
        "a scalar or an array": ("$(1.0)", "np.float64", "np.array"),
        "a date": ("np.array(['2020-01-0$'], 'M8[D]')", "1", "2"),
        "the unit of a date": ("np.array([1], 'm8[$]')", "s", "h"),
        "text": ("np.array(['$'])", "a", "b"),
        "text of any length": ("np.array(['$' * 50], np.dtypes.StringDType())", "a", "b"),
        "a long double": ("np.array([1, $], np.longdouble)", "1", "2"),
        "a mask": ("np.ma.array([1, 2], mask=[0, $])", "0", "1"),
        "a data type": ("np.dtype('$')", "i4", "i8"),
        "a ufunc": ("np.$", "add", "subtract"),
        "the state of a generator": ("np.random.default_rng($)", "1", "2"),
        "the position of a generator": (
            "(r := np.random.default_rng(1), $, r)[2]",
            "0",
            "r.random()",
        ),
        "the kind of a generator": ("np.random.Generator(np.random.$(1))", "PCG64", "PCG64DXSM"),
        "a random state": ("np.random.RandomState($)", "1", "2"),
        "a seed sequence": ("np.random.SeedSequence($)", "1", "2"),
        "a subclass with attributes": (
            "np.zeros(2).view(type('A', (np.ndarray,), {})) + $",
            "1",
            "2",
        ),
    }.items()
}
LEARNING = {
    name: (f"import gymnasium as gym, torch, numpy as np\n{source}", a, b)
    for name, (source, a, b) in {
        "a tensor": ("it = torch.tensor([1, $])", "1", "2"),
        "a tensor's class": ("it = torch.zeros(2, dtype=torch.$)", "float32", "int32"),
        "a tensor's shape": ("it = torch.zeros($)", "2, 3", "3, 2"),
        "a tensor of halves": ("it = torch.tensor([$], dtype=torch.bfloat16)", "1", "2"),
        "a scalar tensor": ("it = torch.tensor($)", "True", "False"),
        "a parameter": ("it = torch.nn.Parameter(torch.tensor([$]))", "1.0", "2.0"),
        "a layer": (
            "it = torch.nn.Linear(2, 2)\ntorch.nn.init.constant_(it.weight, $)\n"
            "torch.nn.init.zeros_(it.bias)",
            "1",
            "2",
        ),
        "a module's option": ("it = torch.nn.LeakyReLU($)", "0.1", "0.2"),
        "a user's module": (
            "class A(torch.nn.Module):\n def forward(self, x): return x + $\nit = A()",
            "1",
            "2",
        ),
        "a torch generator": ("it = torch.Generator().manual_seed($)", "1", "2"),
        "a device": ("it = torch.device('$')", "cpu", "meta"),
        "a data type": ("it = torch.$", "float32", "float64"),
        "a discrete space": ("it = gym.spaces.Discrete($)", "2", "3"),
        "the start of a space": ("it = gym.spaces.Discrete(2, start=$)", "0", "1"),
        "a box": ("it = gym.spaces.Box(0, $, (2,))", "1", "2"),
        "a space of spaces": ("it = gym.spaces.Dict(a=gym.spaces.Discrete($))", "2", "3"),
        "the seed of a space": ("it = gym.spaces.Discrete(2, seed=$)", "1", "2"),
        "a registration": (
            "it = gym.envs.registration.EnvSpec('A-v0', 'math:sin', max_episode_steps=$)",
            "1",
            "2",
        ),
        "where a registration leads": (
            "it = gym.envs.registration.EnvSpec('A-v0', 'math:$')",
            "sin",
            "cos",
        ),
        "an id": ("it = lambda: gym.make('$')", "CartPole-v0", "CartPole-v1"),
        "an option of an id": (
            "it = lambda: gym.make('CartPole-v1', max_episode_steps=$)",
            "10",
            "50",
        ),
    }.items()
}
TABLES = {
    f"{table}: {name}": row
    for table, rows in [
        *[("code", CODE), ("globals", GLOBALS), ("class", CLASSES), ("object", OBJECTS)],
        *[("data", DATA), ("array", ARRAYS), ("learning", LEARNING)],
    ]
    for name, row in rows.items()
}

# What must be equal.
EQUAL = {
    "documentation": ("def it():\n '$'\n return 1", "a", "b"),
    "documentation of a class": ("class it:\n '$'\n def f(self):\n  '$'\n  return 1", "a", "b"),
    "an annotation": ("def it(x: $): return x", "int", "'float'"),
    "a global that is not used": ("G = $\ndef it(): return 1", "1", "9"),
    "an attribute of a module that is not used": (
        "import types\nm = types.ModuleType('m')\nm.a, m.b = 1, $\ndef it(): return m.a",
        "1",
        "9",
    ),
    "the order of a dict": ("it = {$}", "1: 2, 'a': [3]", "'a': [3], 1: 2"),
    "the order of a dict with tuples": ("it = {$}", "(1,): 2, (2,): 3", "(2,): 3, (1,): 2"),
    "the order of a set": ("it = set($)", "['a', 'b', (1,)]", "[(1,), 'b', 'a']"),
    "the order of a dict in a cycle": (
        "a, b = {}, {}\na['b'], b['a'] = b, a\nit = {$}",
        "'a': a, 'b': b",
        "'b': b, 'a': a",
    ),
    "the order of methods": (
        "class it:\n$",
        " def f(self): return self.g()\n def g(self): return self.f()",
        " def g(self): return self.f()\n def f(self): return self.g()",
    ),
    "the order of a Counter": ("import collections\nit = collections.Counter('$')", "ab", "ba"),
    "one tuple or two": (
        "a, b = (1, [].__len__), (1, [].__len__)\nit = a[:1], $",
        "a[:1]",
        "b[:1]",
    ),
    "a view and its copy": (
        "import numpy as np\nit = np.arange(12).reshape(3, 4)[::-1, ::2]$",
        "",
        ".copy()",
    ),
    "the layout of an array": (
        "import numpy as np\nit = np.array([[1, 2], [3, 4]], order='$')",
        "C",
        "F",
    ),
    "the sign of nothing": ("it = float('nan')$", "", " * 1"),
    "the memory between fields": (
        "import numpy as np\nit = np.zeros(3, np.dtype([('a', 'i1'), ('b', 'f8')], align=True))\n"
        "it.view(np.uint8)[:] = $\nit['a'] = 1\nit['b'] = 2",
        "0",
        "7",
    ),
    "whether a cache is filled": (
        "import functools\n@functools.lru_cache\ndef it(): return 1\n$",
        "",
        "it()",
    ),
    "whether a jitted function was compiled": (
        "import numba\n@numba.njit\ndef it(x): return x + 1\n$",
        "",
        "it(1), it(1.5)",
    ),
    "whether a vectorized function was called": (
        "import numpy as np\nit = np.vectorize(lambda x: x + 1)\n$",
        "",
        "it([1, 2])",
    ),
    "whether a single dispatch was used": (
        "import functools\n@functools.singledispatch\ndef it(x): return 1\n$",
        "",
        "it(3), it('a')",
    ),
    "whether an ABC was asked": (
        "import abc\nclass it(abc.ABC): pass\n$",
        "",
        "isinstance(1, it)",
    ),
    "whether flags were joined": (
        "import enum\nclass it(enum.Flag): A, B = 1, 2\n$",
        "",
        "it.A | it.B, ~it.A",
    ),
    "whether an instance was copied or pickled": (
        "import copy\nclass it: pass\n$",
        "",
        "copy.deepcopy(it()), it().__reduce_ex__(4)",
    ),
    "whether a protocol was asked": (
        "import typing\n@typing.runtime_checkable\nclass it(typing.Protocol):\n x = 1\n$",
        "",
        "isinstance(1, it)",
    ),
    "whether a box was printed": (
        "import gymnasium as gym\nit = gym.spaces.Box(0, 1, (2,))\n$",
        "",
        "repr(it)",
    ),
    "whether a space was sampled": (
        "import gymnasium as gym\nit = gym.spaces.Discrete(9)\n$",
        "",
        "it.sample()",
    ),
    "whether a path was used": (
        "import pathlib\nit = pathlib.Path('a')\n$",
        "",
        "hash(it), str(it)",
    ),
    "whether an object was hashed": ("it = frozenset([1])\n$", "", "hash(it)"),
    **{
        f"whether {name} was used": (f"{source}\nit = lambda: f(1, 2)\n$", "", "f(1, 2)")
        for name, source in {
            "random.uniform": "from random import uniform as f",
            "np.random.uniform": "import numpy as np\nf = np.random.uniform",
            "random.randint": "import random\nf = lambda a, b: random.randint(a, b)",
            "np.random.rand": "import numpy as np\ndef f(a, b): return np.random.rand(a, b)",
        }.items()
    },
    "whether it was looked at": (
        "import inspect, pydoc\nclass it:\n def f(self, x=1): return x\n$",
        "",
        "pydoc.render_doc(it), inspect.signature(it.f), inspect.getmembers(it), it.__annotations__",
    ),
}
