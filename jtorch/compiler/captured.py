"""A captured run: one stretch of a trace, where its operands come from, and what it leaves behind.

``capture`` runs a function as always, watching; if all it did can be repeated it returns a :class:`Captured`, whose
``replay`` appends the same calls to the present trace and then does to Tensors what the function did: writes storages,
sets gradients, gives results their history.
"""

from __future__ import annotations

import weakref

from ..tape.node import CallNode
from ..tensor import Tensor, lens
from ..tensor.conversion import scalar
from ..tensor.storage import Storage
from ..trace import capture as watching_trace
from ..trace import recorder
from ..trace.capture import Action, Draw, Log, Read
from ..trace.launch import Launch
from ..trace.recorder import note_write
from ..trace.stretch import Mark, Stretch
from ..utils import _pytree
from .guards import Guards
from .watch import Watch

#: attributes of a Tensor that a run may change: they are dealt with, or only memorise
_TRANSIENT = frozenset(
    ("_grad", "_accumulator", "_backward_step", "_accumulates", "_memo", "_memo_writes", "_geometry")
)  # fmt: skip


#: Bytes that replays may return in vain.
_SMALL = 1 << 12


class NotReplayable(Exception):
    """The run did something that a replay would not repeat."""


def _layout_of(t):
    return None if t._lens is None and t._strides is None and t.is_contiguous() else t.stride()


class _Before:
    """The tensors a run can reach, as they are before it."""

    def __init__(self, tensors: list[Tensor]):
        self.tensors = tensors
        self.known: dict[int, tuple] = {}  # id of a Value -> its source
        self.values: list = []  # keeps those ids valid
        self.grads = [t._grad for t in tensors]
        for i, t in enumerate(tensors):
            self._source(t._value(), ("tensor", i))
            if t._lens is not None or t._root is not None:
                self._source(t._storage.value, ("storage", i))
            if t._grad is not None:
                self._source(t._grad._value(), ("grad", i))
        self.attributes = [dict(t.__dict__) for t in tensors]
        self.storages = {}
        for i, t in enumerate(tensors):
            self.storages.setdefault(id(t._storage), ("tensor", i, t._storage))
        for i, g in enumerate(self.grads):
            if g is not None:
                self.storages.setdefault(id(g._storage), ("grad", i, g._storage))
        self.counts = {key: (s.writes, s.version) for key, (_, _, s) in self.storages.items()}
        self.edges = {}
        for i, t in enumerate(tensors):
            if t.requires_grad:
                node, k = t._history()
                self.edges.setdefault((id(node), k), i)

    def _source(self, value, source) -> None:
        self.values.append(value)
        self.known.setdefault(id(value), []).append(source)

    def let_go(self) -> None:
        """Hold no Values from now on, so that a program may take over the buffers of those nobody else holds."""
        refs = [(id(v), weakref.ref(v)) for v in self.values]
        self.values = []
        self.known = {key: self.known[key] for key, ref in refs if ref() is not None}

    def attributes_changed(self) -> bool:
        for t, before in zip(self.tensors, self.attributes, strict=True):
            now = t.__dict__
            for name in now.keys() | before.keys():
                if name not in _TRANSIENT and now.get(name) is not before.get(name):
                    return True
        return False


def capture(fn, args, kwargs, guards: Guards, leaves: list, log: Log, watch: Watch):
    """Run ``fn`` once: ``(its result, Captured or None, why not)``.

    Raises:
        GraphBreak: ``fullgraph`` was asked for, and the function needs a value before it ends.
    """
    tensors = [leaves[i] for i in guards.arguments.tensors] + [s.tensor for s in guards.statics]
    before = _Before(tensors)
    marks = {device: (trace, Mark.of(trace)) for device, trace in recorder.open_traces().items()}
    steps_before = [t._backward_step for t in tensors]
    captured = Captured(guards, before, log)
    log.views = [(t._storage, t._storage.writes, t._lens, t._memo) for t in tensors if t._lens]

    def at_end():
        try:
            captured.settle(marks)
        except NotReplayable as refusal:
            log.drop(str(refusal))

    log.at_end = at_end
    with watching_trace.watching(log), watch:
        result = fn(*args, **kwargs)
    why = log.refusal or watch.refusal
    if why is None and log.used & guards.excused:
        why = "it depends on a hyper-parameter that it did not depend on the time before"
    if why is None and not guards.arguments.same(leaves, args, kwargs):
        why = "it changes a container given as an argument"
    if why is None:
        changed = guards.changed_by_run()
        if changed is not None:
            why = f"it changes {changed}"
    if why is None:
        try:
            captured.complete(result, marks, steps_before)
        except NotReplayable as refusal:
            why = str(refusal)
    for event in log.events:
        if isinstance(event, Draw):
            event.value = None
    log.made.clear()
    log.views.clear()
    log.at_end = None
    if log.reads:
        result = _pytree.tree_map(plain, result)
        log.reads.clear()
    if why is None:
        captured.keep_small()
    captured.release()
    del before
    end_of_run(log.steps, log.accumulates)
    return result, None if why is not None else captured, why


def end_of_run(steps: int, accumulates: bool) -> None:
    """The boundaries that were held back."""
    if steps:
        recorder.flush_all("optimizer.step()")
    elif accumulates:
        recorder.backward_boundary(True)


class Captured:
    """What a run did, in terms of where its operands come from.

    A *place* is ``("in", k)``, result ``k`` of the stretch, ``("tensor" | "storage" | "grad", i)``, what tensor ``i``
    held before, or ``("constant", value)``.
    """

    def __init__(self, guards: Guards, before: _Before, log: Log):
        self.guards, self.log, self._before = guards, log, before
        self.wanted: dict[int, int] = {}
        self.parts: dict[int, tuple] = {}  # of tensors whose storages were read: those' aval, and what is shown of it
        self._launch: Launch | None = None  # once it has twice been run by itself, by the same program
        self._settled: dict[int, int] | None = None  # id of a Value -> its number, once the stretch has been run
        self._pending: list = []

    def settle(self, marks) -> None:
        """All is recorded, and about to be run because a number is read: what is pending is what a replay returns."""
        self._stretch(marks)
        self._settled = {}
        if self._trace is not None:
            self._pending = [v for r in self._trace.refs if (v := r()) is not None]
            for v in self._pending:
                k = self.stretch.inside(v, self._trace)
                if k is not None:
                    self._settled[id(v)] = k
                    self.wanted[k] = len(self.wanted)
        self._before.let_go()
        self.log.views.clear()
        self._counts = len(self.log.events), len(self.log.made)

    def _stretch(self, marks) -> None:
        log = self.log
        self._find_trace(marks)
        self.made = {id(v): v for v in log.made}
        self.draws = {id(e.value): j for j, e in enumerate(_drawn(log))}
        self._operands()
        self._numbers()

    def complete(self, result, marks, steps_before) -> None:
        """The run is over.

        Raises:
            NotReplayable: it did something that a replay would not repeat.
        """
        guards, log, before = self.guards, self.log, self._before
        flat, self.form = _pytree.tree_flatten(result)
        if log.reads and _is_key(result, [number for _, number in log.reads]):
            raise NotReplayable("a key of the dictionary it returns was read from a tensor")
        if _shares_container(result, guards):
            raise NotReplayable("it returns a container that others hold as well")
        for t in flat:
            if isinstance(t, Tensor):
                t._value()  # views are read now, so that reading them is part of the stretch
        if self._settled is None:
            self._stretch(marks)
        elif any(t.calls for t in recorder.open_traces().values()) or self._counts != (len(log.events), len(log.made)):
            raise NotReplayable("it goes on computing after a number was read")
        self.nodes: list[tuple] = []
        self._node_numbers: dict[int, int] = {}
        if log.walks and any(t._edge is not None for t in before.tensors):
            raise NotReplayable("it runs backward, and a tensor from outside has a history of its own")
        known = {id(t) for t in before.tensors}
        if any(id(leaf) not in known for leaf in log.leaves):
            raise NotReplayable("backward reaches a leaf that is neither an argument nor found in closures or globals")
        log.leaves.clear()
        if before.attributes_changed():
            raise NotReplayable("it changes requires_grad, .data, hooks or history of a tensor from outside")
        self._effects(steps_before)
        self.reads: list[tuple] = []
        self.results = [self._result(x) for x in flat]
        self._share_no_storage(flat)
        self.arguments = guards.arguments.tensors
        self.statics = [s.tensor for s in guards.statics]
        self._static_storages = {id(s.storage): k for k, s in reversed(list(enumerate(guards.statics)))}
        self.aliasing = self._aliasing(before.tensors)
        self.graded = [i for i, g in enumerate(before.grads) if g is not None]
        if len({id(before.grads[i]._storage) for i in self.graded}) != len(self.graded):
            raise NotReplayable("two tensors share one gradient")
        self.slots = tuple(self.wanted)
        #: per operand the storage it is read from, where guards see to it that it is the same one each time
        self._read_from = [self._fixed_storage(p) for p in self.operands]
        self._replaced = self._operands_replaced()

    def keep_small(self) -> None:
        """Have replays return what else this run is about to, so that its program is theirs, unless that is much.

        What nodes saved that can be walked again, the offsets of slices for instance, is held and never needed.
        """
        if self.stretch is None:
            return
        held = {k: v for r in self._trace.refs if (v := r()) is not None
                and (k := self.stretch.inside(v, self._trace)) is not None and k not in self.wanted}  # fmt: skip
        if sum(v.aval.nbytes for v in held.values()) <= _SMALL:
            for k in held:
                self.wanted[k] = len(self.wanted)
            self.slots = tuple(self.wanted)

    def _fixed_storage(self, place) -> Storage | None:
        kind, i = place
        if kind not in ("tensor", "storage") or i < len(self.arguments):
            return None
        static = self.guards.statics[i - len(self.arguments)]
        t = static.tensor
        return static.storage if kind == "storage" or t._lens is None and t._root is None else None

    def _operands_replaced(self) -> list[bool]:
        """Per operand, whether the run puts another value in its place, or makes it itself."""
        before = self._before
        ended = {key for key, (_, _, s) in before.storages.items() if s.writes != before.counts[key][0]}
        ended |= {id(before.grads[i]._storage) for i, _ in self.new_grads if before.grads[i] is not None}

        def storage(kind, i):
            return (before.grads[i] if kind == "grad" else before.tensors[i])._storage

        return [
            kind == "draw" or kind in ("tensor", "storage", "grad") and id(storage(kind, i)) in ended
            for kind, i in self.operands
        ]

    def release(self) -> None:
        """Forget what was needed to understand the run."""
        for name in ("_before", "_trace", "made", "draws", "_node_numbers", "_pending", "_settled"):
            self.__dict__.pop(name, None)

    # --- reading the run

    def _find_trace(self, marks) -> None:
        used = []
        for device, trace in recorder.open_traces().items():
            known, mark = marks.pop(device, (trace, Mark()))
            if known is not trace:
                raise NotReplayable("what is recorded has to run in the middle of the function")
            if Mark.of(trace) != mark:
                used.append((trace, mark))
        if any(mark.calls for _, mark in marks.values()):
            raise NotReplayable("what is recorded has to run in the middle of the function")
        if len(used) > 1:
            raise NotReplayable("it computes on several devices")
        self._trace = used[0][0] if used else None
        self.stretch = Stretch(*used[0]) if used else None

    def _place(self, value) -> tuple:
        if self._settled is not None:
            k = self._settled.get(id(value))
        else:
            k = None if self._trace is None else self.stretch.inside(value, self._trace)
        if k is not None:
            return "in", self.wanted.setdefault(k, len(self.wanted))
        found = self._before.known.get(id(value))
        if found:
            kind, i = found[0]
            if kind == "storage":  # what a view of it reads is laid out by this run's view
                self.parts[i] = value.aval, self._before.tensors[i]._lens
            return found[0]
        if id(value) in self.draws:
            return "draw", self.draws[id(value)]
        if id(value) in self.made:
            return "constant", value
        raise NotReplayable("it uses a tensor that cannot be reached from its arguments, closures and globals")

    def _operands(self) -> None:
        """Where each external operand comes from, and which of them must be one and the same."""
        self.operands, self.same = [], []
        draws = _drawn(self.log)
        self.drawn = [None] * len(draws)
        if self.stretch is None:
            return
        trace, slots = self._trace, {}
        for value in self._before.values:
            if value.trace is trace:
                slots[value.slot] = value
            if value.sharding is not None:
                raise NotReplayable("its tensors lie on several devices")
        for j, draw in enumerate(draws):
            if draw.value.trace is trace:
                slots[draw.value.slot] = j
        for value in self.made.values():
            if value.trace is trace:
                slots.setdefault(value.slot, value)
        for slot in self.stretch.external:
            value = slots.get(slot)
            if value is None:
                raise NotReplayable("it uses a tensor that cannot be reached from its arguments, closures and globals")
            if isinstance(value, int):
                self.operands.append(("draw", value))
                continue
            self.operands.append(self._place(value))
            self.same += [(self.operands[-1], other) for other in self._before.known.get(id(value), ())[1:]]

    def _effects(self, steps_before) -> None:
        before = self._before
        self.writes, self.new_grads = [], []
        for key, (kind, i, storage) in before.storages.items():
            writes, version = before.counts[key]
            if storage.writes != writes:
                if kind == "tensor" and before.tensors[i]._lens is not None:
                    raise NotReplayable("it writes through a view from outside")
                place = self._place(storage.value)
                self.writes.append((kind, i, place, storage.writes - writes, storage.version - version))
        for i, (t, grad) in enumerate(zip(before.tensors, before.grads, strict=True)):
            if t._grad is grad:
                continue
            if t._grad is None:
                self.new_grads.append((i, None))
                continue
            g = t._grad
            if g._edge is not None or g._lens is not None or type(g) is not Tensor or id(g._storage) in before.storages:
                raise NotReplayable("it sets a gradient that has a history, or shares another tensor's storage")
            self.new_grads.append((i, (self._place(g._storage.value), g._strides, g._requires_grad)))
        self.stepped = [
            i for i, (t, step) in enumerate(zip(before.tensors, steps_before, strict=True)) if t._backward_step != step
        ]

    def _result(self, x):
        if not isinstance(x, Tensor):
            for value, number in self.log.reads:
                if number is x:
                    kind = int if isinstance(number, int) else type(number)
                    self.reads.append((self._place(value), kind))
                    return "read", len(self.reads) - 1
            if isinstance(x, (type(None), bool, int, float, complex, str, bytes)) or _is_constant(x):
                return "value", x
            raise NotReplayable(f"it returns a {type(x).__name__}")
        for i, t in enumerate(self._before.tensors):
            if t is x:
                return "tensor", i
        for i, t in enumerate(self._before.tensors):
            if t._grad is x:
                return "grad", i
        if id(x._storage) in self._before.storages:
            raise NotReplayable("it returns another view of a tensor from outside")
        if type(x) is not Tensor or x._hooks or x.__dict__.get("_retains") or x._grad is not None:
            raise NotReplayable("it returns a tensor with hooks, a gradient or a class of its own")
        edge = self._edge(x._edge) if x._edge is not None else None
        public = {n: v for n, v in x.__dict__.items() if not n.startswith("_")}
        if public:
            raise NotReplayable("it returns a tensor with attributes of its own")
        return "new", self._place(x._value()), _layout_of(x), edge, x._requires_grad and x._edge is None, x._inference

    def _share_no_storage(self, flat) -> None:
        made = [x._storage for x, r in zip(flat, self.results, strict=True) if r[0] == "new" and isinstance(x, Tensor)]
        grads = [t._grad._storage for t in self._before.tensors if t._grad is not None]
        distinct = {id(x) for x in flat if isinstance(x, Tensor)}
        if len({id(s) for s in made}) != len(distinct & {id(x) for x, r in zip(flat, self.results, strict=True)
                                                         if r[0] == "new"}) or {id(s) for s in made} & {
            id(s) for s in grads
        }:  # fmt: skip
            raise NotReplayable("its results share storage")
        seen: dict[int, int] = {}  # one object returned twice stays one
        for n, x in enumerate(flat):
            if isinstance(x, Tensor) and self.results[n][0] == "new":
                if id(x) in seen:
                    self.results[n] = ("again", seen[id(x)])
                else:
                    seen[id(x)] = n

    def _edge(self, edge) -> tuple:
        """Where gradients flow: into a tensor from outside, or into a node to be made."""
        outside = self._before.edges.get((id(edge[0]), edge[1]))
        if outside is not None:
            return "tensor", outside
        return "node", self._node(edge[0]), edge[1]

    def _node(self, last) -> int:
        stack, order = [last], {}
        while stack:
            node = stack.pop()
            if id(node) in self._node_numbers or id(node) in order:
                continue
            packed = isinstance(node, CallNode) and node.saved is not None and node.saved.__class__ is not list
            if not isinstance(node, CallNode) or packed or node.hooked():
                raise NotReplayable(f"autograd node {node.name()} is a custom function, or has hooks")
            order[id(node)] = node
            if node.saved is not None:
                stack += [e[0] for e in node.edges if e and self._before.edges.get((id(e[0]), e[1])) is None]
        for node in sorted(order.values(), key=lambda n: n.seq):
            freed = node.saved is None
            self.nodes.append((
                type(node), node.linearization,
                None if freed else [self._saved(v) for v in node.saved],
                None if freed or node.operands is None else [self._saved(v) for v in node.operands],
                () if freed else tuple(g for g in map(self._guard, node.guards) if g),
                [] if freed else [None if e is None else self._edge(e) for e in node.edges],
                node.device,
            ))  # fmt: skip
            self._node_numbers[id(node)] = len(self.nodes) - 1
        return self._node_numbers[id(last)]

    def _saved(self, x) -> tuple:
        return self._place(x) if hasattr(x, "aval") else ("constant", x)

    def _guard(self, guard):
        """A guard of a saved operand, for storages from outside: nobody else can write the others."""
        storage, version, place = guard
        found = self._before.storages.get(id(storage))
        if found is None:
            return None
        return found[0], found[1], version - self._before.counts[id(storage)][1], place

    def _numbers(self) -> None:
        """Which run-time numbers are read afresh, from hyper-parameters or generators."""
        numbers = [] if self.stretch is None else self.stretch.hypers
        where: dict[int, list[int]] = {}
        for j, x in enumerate(numbers):
            if isinstance(x, watching_trace.Sourced):
                where.setdefault(id(x), []).append(j)
        self.numbers = [float.__add__(x, 0.0) if isinstance(x, watching_trace.Sourced) else x for x in numbers]
        if self.stretch is not None:
            self._trace.hypers[len(self._trace.hypers) - len(numbers) :] = self.numbers
        self.events = []
        j = 0
        for event in self.log.events:
            if isinstance(event, Read):
                if id(event.number) in where:
                    self.events.append(("read", event.read, where[id(event.number)]))
            elif isinstance(event, Draw) and event.value is not None:
                self.events.append(("draw", event.make, j))
                j += 1
            elif isinstance(event, Draw):
                offset = 0 if self.stretch is None else len(self._trace.hypers) - len(numbers)
                self.events.append(("numbers", event.make, event.position - offset))
            elif isinstance(event, Action):
                self.events.append(("run", event.run, None))

    def _aliasing(self, tensors) -> tuple:
        """Which tensors share storage, as far as arguments are concerned (the others are known objects)."""
        ids = [id(t._storage) for t in tensors[: len(self.arguments)]]
        known = self._static_storages
        return tuple([(known.get(s, -1), ids.index(s)) for s in ids])

    # --- doing it again

    def ready(self, leaves: list) -> list | None:
        """The tensors, if those that must be one and the same are."""
        tensors = [leaves[i] for i in self.arguments]
        tensors += self.statics
        if self.arguments and self._aliasing(tensors) != self.aliasing:
            return None
        if self.graded and len({id(tensors[i]._grad._storage) for i in self.graded}) != len(self.graded):
            return None
        for i, (aval, steps) in self.parts.items():
            if tensors[i]._storage.value.aval is not aval or not lens.same(tensors[i]._lens, steps):
                return None
        for a, b in self.same:
            if self._find(a, tensors) is not self._find(b, tensors):
                return None
        return tensors

    @staticmethod
    def _find(place, tensors):
        kind, i = place
        if kind == "tensor":
            return tensors[i]._value()
        if kind == "storage":
            return tensors[i]._storage.value
        if kind == "grad":
            return tensors[i]._grad._value()
        return i  # a constant

    def replay(self, tensors: list):
        """Repeat the run on these tensors."""
        ends = self.log.steps or self.reads
        if not ends and not self.nodes:  # if it is run by itself, then when its results are read
            self._seek_launch()
        # what is made stays until it has run: the program returns it
        results, values, made, error = self._replay(tensors)
        log = self.log
        if log.steps:
            recorder._state.step += log.steps
            recorder.flush_all("optimizer.step()")
        elif log.backwards and any(tensors[i]._accumulates for i in self.stepped):
            recorder.backward_boundary(True)
        if error is not None:
            raise error
        if self.reads:
            numbers = [kind(scalar(value)) for value, (_, kind) in zip(values, self.reads, strict=True)]
            results = [numbers[r[1]] if r.__class__ is tuple and r[0] == "read" else r for r in results]
        if ends:
            self._seek_launch()
        del made
        return _pytree.tree_unflatten(results, self.form) if self.form.type is not None else results[0]

    def _seek_launch(self) -> None:
        """If the program run last is that of the last replay, and of the one before, replays run it directly."""
        before = self._launch
        if self.stretch is None or before is not None and before.proved:
            return
        found = Launch.of(self.stretch, self.slots, self._replaced)
        if found is not None and before is not None and found.entry is before.entry:
            before.proved = True
        else:
            self._launch = found

    def _replay(self, tensors: list) -> tuple:
        """``(results, of which read numbers are still ("read", i); the values to read; what the stretch made; what an
        earlier program's check was found to say)``."""
        find = self._find
        drawn, numbers = self.drawn.copy(), self.numbers.copy()
        for kind, make, where in self.events:
            if kind == "read":
                x = make()
                for j in where:
                    numbers[j] = x
            elif kind == "draw":
                drawn[where] = make()
            elif kind == "numbers":
                new = make()
                numbers[where : where + len(new)] = new
            else:
                make()
        made, error, launched = [], None, False
        outside = [
            s.value if s is not None else find(p, tensors) if p[0] != "draw" else drawn[p[1]]
            for p, s in zip(self.operands, self._read_from, strict=True)
        ]
        if self.stretch is not None:
            launch = self._launch
            if launch is not None and launch.entry.dropped:
                launch = self._launch = None
            cause = "optimizer.step()" if self.log.steps else "the results of a compiled function"
            done = launch.run(outside, numbers, cause) if launch is not None and launch.proved else None
            launched = done is not None
            if launched:
                made, error = done
            else:
                made = self.stretch.append(outside, self.slots, numbers)

        def value(place):
            kind, i = place
            return made[i] if kind == "in" else drawn[i] if kind == "draw" else find(place, tensors)

        nodes = self._make_nodes(tensors, value) if self.nodes else ()
        read = [value(place) for place, _ in self.reads]
        written = [value(w[2]) for w in self.writes]
        fresh = [None if g is None else value(g[0]) for _, g in self.new_grads]
        results = []
        for r in self.results:
            kind = r[0]
            if kind == "new":
                results.append(self._tensor(value(r[1]), r, tensors, nodes))
            elif kind == "value":
                results.append(r[1])
            elif kind == "again":
                results.append(results[r[1]])
            elif kind == "read":
                results.append(r)
            else:
                results.append(("later", kind, r[1]))
        for (kind, i, _, writes, version), new in zip(self.writes, written, strict=True):
            storage = (tensors[i] if kind == "tensor" else tensors[i]._grad)._storage
            if not launched:
                note_write(storage, storage.value)
            storage.value = new
            storage.writes += writes
            storage.version += version
        for (i, g), new in zip(self.new_grads, fresh, strict=True):
            if g is None:
                tensors[i]._grad = None
                continue
            t = object.__new__(Tensor)
            t._storage = Storage(new)
            if g[1] is not None:
                t._strides = g[1]
            if g[2]:
                t._requires_grad = True
            tensors[i]._grad = t
        if self.stepped:
            step = recorder.current_step()
            for i in self.stepped:
                t = tensors[i]
                if t._backward_step == step:
                    t._accumulates = True
                t._backward_step = step
        results = [
            (tensors[r[2]] if r[1] == "tensor" else tensors[r[2]]._grad) if r.__class__ is tuple and r[:1] == ("later",)
            else r
            for r in results
        ]  # fmt: skip
        return results, read, made, error

    def _tensor(self, value, spec, tensors, nodes) -> Tensor:
        _, _, strides, edge, requires, inference = spec
        t = object.__new__(Tensor)
        t._storage = Storage(value)
        if edge is not None:
            t._edge = tensors[edge[1]]._history() if edge[0] == "tensor" else (nodes[edge[1]], edge[2])
        if strides is not None:
            t._strides = strides
        if requires:
            t._requires_grad = True
        if inference:
            t._inference = True
        return t

    def _make_nodes(self, tensors, value) -> list:
        nodes: list = []
        for cls, lin, saved, operands, guards, edges, device in self.nodes:
            nodes.append(cls(
                lin,
                None if saved is None else [x[1] if x[0] == "constant" else value(x) for x in saved],
                None if operands is None else [x[1] if x[0] == "constant" else value(x) for x in operands],
                tuple([
                    (s := (tensors[i] if kind == "tensor" else tensors[i]._grad)._storage, s.version + delta, aval)
                    for kind, i, delta, aval in guards
                ]),
                [
                    None if e is None else tensors[e[1]]._history() if e[0] == "tensor" else (nodes[e[1]], e[2])
                    for e in edges
                ],
                device,
            ))  # fmt: skip
        return nodes


def _shares_container(x, guards: Guards) -> bool:
    if isinstance(x, (list, dict)):
        return id(x) in guards._seen or any(_shares_container(y, guards) for y in (x.values() if isinstance(x, dict)
                                                                                 else x))  # fmt: skip
    return isinstance(x, tuple) and any(_shares_container(y, guards) for y in x)


def _is_key(x, numbers: list) -> bool:
    """Whether one of the numbers is a key of a dictionary in ``x``."""
    if isinstance(x, dict):
        return any(key is n for key in x for n in numbers) or any(_is_key(y, numbers) for y in x.values())
    return isinstance(x, (list, tuple)) and any(_is_key(y, numbers) for y in x)


def plain(x):
    return int(x) if isinstance(x, watching_trace.ReadNumber) else x


def _drawn(log: Log) -> list[Draw]:
    return [e for e in log.events if isinstance(e, Draw) and e.value is not None]


def _is_constant(x) -> bool:
    from .guards import _IMMUTABLE

    return isinstance(x, _IMMUTABLE)
