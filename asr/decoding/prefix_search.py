"""The kernel of CTC prefix beam search: log domain, exact merging, pruning.

In: log-probabilities, the arrays of a `Fusion`. Out: the label strings of the last beam with
acoustic and total scores. NumPy, numba.

A prefix is a node of a tree. Every label string has at most one node, so all alignments of a string
are merged. Each prefix of the beam has two sums (Hannun et al. 2014, algorithm 1): `blank`, over
the alignments that end in a blank, and `label`, over those that end in its last label. `extra` is
the score of the prefix from language model, hot words and word bonus.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.decoding.fusion import advance, finish, gain_bound, start_state
from asr.decoding.log_space import NOTHING, log_add
from asr.kernels.jit import compiled


class Trie(NamedTuple):
    """All prefixes so far; node 0 is the empty prefix."""

    parents: np.ndarray  # (N,) int32
    labels: np.ndarray  # (N,) int32, the last label
    first_child: np.ndarray  # (N,) int32, -1: none
    next_sibling: np.ndarray  # (N,) int32, -1: none
    slots: np.ndarray  # (N,) int32, position in the beam, -1: none
    extras: np.ndarray  # (N,) float64, nats that the fusion adds
    states: np.ndarray  # (N, 4) int32, see `asr.decoding.fusion.advance`


class Beam(NamedTuple):
    """The prefixes of one frame, and their sums before and after the next frame."""

    nodes: np.ndarray  # (W,) int32
    blank: np.ndarray  # (W,) float64, alignments that end in a blank
    label: np.ndarray  # (W,) float64, alignments that end in the last label
    total: np.ndarray  # (W,) float64, both
    next_blank: np.ndarray  # (W,) float64
    next_label: np.ndarray  # (W,) float64
    taken: np.ndarray  # (W, V) bool, the extension is in the beam already


@compiled
def _sift_down(scores, items, position, size):
    """Restore the min-heap `scores[:size]` after the score at `position` has grown."""
    score, item = scores[position], items[position]
    while True:
        child = 2 * position + 1
        if child >= size:
            break
        if child + 1 < size and scores[child + 1] < scores[child]:
            child += 1
        if scores[child] >= score:
            break
        scores[position], items[position] = scores[child], items[child]
        position = child
    scores[position], items[position] = score, item


@compiled
def _offer(scores, items, size, score, item):
    """Keep the best `len(scores)` offers in a min-heap; returns its size."""
    if size == len(scores):
        if score > scores[0]:
            scores[0], items[0] = score, item
            _sift_down(scores, items, 0, size)
        return size
    position = size
    while position > 0 and scores[(position - 1) // 2] > score:
        scores[position], items[position] = (scores[(position - 1) // 2],
                                             items[(position - 1) // 2])
        position = (position - 1) // 2
    scores[position], items[position] = score, item
    return size + 1


@compiled
def _sort_descending(row, order):
    """Heap sort of label numbers by falling log-probability; compiles faster than np.argsort."""
    size = len(order)
    for done in range(size + size // 2):
        if done < size // 2:  # build the heap, then remove the smallest repeatedly
            root, end = size // 2 - 1 - done, size
        else:
            root, end = 0, size - 1 - (done - size // 2)
            order[0], order[end] = order[end], order[0]
        while 2 * root + 1 < end:
            child = 2 * root + 1
            if child + 1 < end and row[order[child + 1]] < row[order[child]]:
                child += 1
            if row[order[child]] >= row[order[root]]:
                break
            order[root], order[child] = order[child], order[root]
            root = child


@compiled
def _child(tree, num_nodes, parent, label):
    """The node of prefix + label, and the node count, which grows if the node is new."""
    node = tree.first_child[parent]
    while node >= 0:
        if tree.labels[node] == label:
            return node, num_nodes
        node = tree.next_sibling[node]
    node = num_nodes
    tree.parents[node], tree.labels[node] = parent, label
    tree.first_child[node], tree.next_sibling[node] = -1, tree.first_child[parent]
    tree.first_child[parent] = node
    return node, num_nodes + 1


@compiled
def prefix_search(log_probs, beam_width, beam_threshold, label_threshold, fusion):
    """Search one utterance.

    Args:
        log_probs: (T', V) float64, natural log.
        beam_width: prefixes kept after each frame.
        beam_threshold: prefixes this many nats below the best are dropped.
        label_threshold: labels whose log-probability in a frame is lower do not extend a prefix.
        fusion: see `asr.decoding.fusion.Fusion`.

    Returns:
        strings (N, L) int64, right-padded with 0; lengths (N,); acoustic (N,) float64, log of the
        summed probability of the alignments that were kept; total (N,) float64, with everything
        that the fusion adds, minus infinity where the string must not end. The order is arbitrary.
    """
    num_frames, vocab_size = log_probs.shape
    capacity = 2 + num_frames * beam_width  # untouched pages of np.empty cost no memory
    tree = Trie(np.empty(capacity, dtype=np.int32), np.empty(capacity, dtype=np.int32),
                np.empty(capacity, dtype=np.int32), np.empty(capacity, dtype=np.int32),
                np.empty(capacity, dtype=np.int32), np.empty(capacity, dtype=np.float64),
                np.empty((capacity, 4), dtype=np.int32))
    labels, slots, extras, states = tree.labels, tree.slots, tree.extras, tree.states
    tree.parents[0], labels[0], slots[0], extras[0] = -1, 0, 0, 0.0
    tree.first_child[0], tree.next_sibling[0] = -1, -1
    states[0, 0], states[0, 1], states[0, 2], states[0, 3] = start_state(fusion)
    # Not plain numbers: numba would compile `_keep` a second time, for these constants.
    num_nodes, size = np.int64(1), np.int64(1)

    beam = Beam(np.zeros(beam_width, dtype=np.int32), np.full(beam_width, NOTHING),
                np.full(beam_width, NOTHING), np.full(beam_width, NOTHING), np.empty(beam_width),
                np.empty(beam_width), np.zeros((beam_width, vocab_size), dtype=np.bool_))
    nodes, blank, total, taken = beam.nodes, beam.blank, beam.total, beam.taken
    next_blank, next_label = beam.next_blank, beam.next_label
    blank[0] = total[0] = 0.0
    scores = np.empty(beam_width)
    items = np.empty(beam_width, dtype=np.int64)  # slot * V + label; label 0: the same prefix
    order = np.arange(vocab_size)

    for t in range(num_frames):
        row = log_probs[t]
        _sort_descending(row, order)
        count = np.int64(0)
        highest = NOTHING
        for i in range(size):
            node = nodes[i]
            last = labels[node]
            next_blank[i] = total[i] + row[0]
            next_label[i] = NOTHING
            if last > 0:
                next_label[i] = beam.label[i] + row[last]
                parent_slot = slots[tree.parents[node]]
                if parent_slot >= 0 and row[last] >= label_threshold:
                    # The parent extended by this label is the same prefix: add both sums.
                    base = (blank if labels[nodes[parent_slot]] == last else total)[parent_slot]
                    next_label[i] = log_add(next_label[i], base + row[last])
                    taken[parent_slot, last] = True
            score = log_add(next_blank[i], next_label[i]) + extras[node]
            highest = max(highest, score)
            count = _offer(scores, items, count, score, i * vocab_size)
        for i in range(size):
            node = nodes[i]
            last = labels[node]
            limit = total[i] + extras[node] + gain_bound(fusion, states[node, 0], states[node, 3])
            for label in order:
                reachable = limit + row[label]
                if (row[label] < label_threshold or reachable < highest - beam_threshold
                        or (count == beam_width and reachable <= scores[0])):
                    break  # labels are in descending order: no other one can score higher
                if label == 0 or taken[i, label]:
                    continue
                base = blank[i] if label == last else total[i]
                if base == NOTHING:
                    continue
                delta, _, _, _, _ = advance(fusion, states[node, 0], states[node, 1],
                                            states[node, 2], states[node, 3], last, label)
                score = base + row[label] + extras[node] + delta
                if score == NOTHING:
                    continue
                highest = max(highest, score)
                count = _offer(scores, items, count, score, i * vocab_size + label)
        num_nodes, size = _keep(scores, items, count, highest - beam_threshold, row, fusion, tree,
                                beam, num_nodes, size)
    return _read_out(nodes[:size], total[:size], tree, fusion)


@compiled
def _keep(scores, items, num_offers, lowest, row, fusion, tree, beam, num_nodes, size):
    """Make the accepted offers the new beam; returns node count and beam size."""
    vocab_size = len(row)
    labels, slots, extras, states = tree.labels, tree.slots, tree.extras, tree.states
    nodes, blank, label_, total = beam.nodes, beam.blank, beam.label, beam.total
    for i in range(size):
        slots[nodes[i]] = -1
        beam.taken[i] = False
    new_nodes = np.empty(num_offers, dtype=np.int32)
    new_blank = np.empty(num_offers)
    new_label = np.empty(num_offers)
    count = 0
    for offer in range(num_offers):
        if scores[offer] < lowest:
            continue
        i, label = items[offer] // vocab_size, items[offer] % vocab_size
        node = nodes[i]
        if label == 0:
            new_nodes[count], new_blank[count], new_label[count] = (
                node, beam.next_blank[i], beam.next_label[i])
        else:
            child, grown = _child(tree, num_nodes, node, label)
            if grown > num_nodes:
                delta, a, b, c, d = advance(
                    fusion, states[node, 0], states[node, 1], states[node, 2], states[node, 3],
                    labels[node], label)
                extras[child] = extras[node] + delta
                states[child, 0], states[child, 1], states[child, 2], states[child, 3] = a, b, c, d
                num_nodes = grown
            base = blank[i] if label == labels[node] else total[i]
            new_nodes[count], new_blank[count], new_label[count] = (child, NOTHING,
                                                                    base + row[label])
        count += 1
    for i in range(count):
        nodes[i], blank[i], label_[i] = new_nodes[i], new_blank[i], new_label[i]
        total[i] = log_add(blank[i], label_[i])
        slots[nodes[i]] = i
    return num_nodes, count


@compiled
def _read_out(nodes, acoustic, tree, fusion):
    """Label strings of the last beam with their scores; see `prefix_search`."""
    parents, labels, extras, states = tree.parents, tree.labels, tree.extras, tree.states
    totals = np.empty(len(nodes))
    lengths = np.zeros(len(nodes), dtype=np.int64)
    longest = 1
    for i in range(len(nodes)):
        node = nodes[i]
        totals[i] = acoustic[i] + extras[node] + finish(
            fusion, states[node, 0], states[node, 1], states[node, 2], states[node, 3],
            labels[node])
        while node > 0:
            lengths[i] += 1
            node = parents[node]
        longest = max(longest, lengths[i])
    strings = np.zeros((len(nodes), longest), dtype=np.int64)
    for i in range(len(nodes)):
        node = nodes[i]
        for position in range(lengths[i] - 1, -1, -1):
            strings[i, position] = labels[node]
            node = parents[node]
    return strings, lengths, acoustic.copy(), totals
