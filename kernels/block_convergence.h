// When the sweeps of method `block` are over. Pairs of blocks are rotated as a whole, those of a matrix by many
// threadgroups, which have two words in common.
//
// A cosine above the tolerance asks for its pair of blocks to be rotated. Of matrices of many columns what else is not
// far below it is then rotated away too, at no cost: columns of nearly equal norm turn by large angles and mix what
// they have in common with others, so that cosines just within the tolerance come out of it again and again.
//
// A sweep asks for another one where it has met both: cosines well above the tolerance, and angles or cosines that are
// not small (common/convergence.h). Without the former all cosines are nearly within the tolerance, without the latter
// they are once these have been rotated away. Where many singular values agree to rounding, angles never become small.
#pragma once
#include <metal_stdlib>

#include "common/convergence.h"
#include "common/rotation.h"
#include "device_limits.h"

namespace metalsvd {

using namespace metal;

// What a sweep has found, in bits: cosines that ask for a rotation, that are well above the tolerance; angles or
// cosines that are not small, of what is rotated with them.
enum FoundInBlocks : uint { found_due = 1, found_far = 2, found_wide = 4 };

struct BlockTolerances {
  float cosine;  // above which it is rotated away, if its pair of blocks is
  float due;
  float far;
  float small;
};

// Of blocks that turn `more` than asks for it, or just that.
inline BlockTolerances make_block_tolerances(int rows, int columns, bool more) {
  const Tolerances of_pair = make_tolerances(rows, columns);
  BlockTolerances tolerances;
  tolerances.cosine = (more ? 0.7f : 1.0f) * of_pair.cosine;
  tolerances.due = of_pair.cosine;
  tolerances.far = 1.5f * of_pair.cosine;
  tolerances.small = of_pair.small;
  return tolerances;
}

// Of two columns, as in common/convergence.h, whose cosine is known.
inline uint found_with_cosine(float cosine_of_pair, float alpha, float beta, float size, BlockTolerances tolerances) {
  const bool is_small = is_small_rotation(cosine_of_pair, alpha, beta, size, tolerances.small);
  const uint due = cosine_of_pair > tolerances.due ? found_due : 0u;
  const uint far = cosine_of_pair > tolerances.far ? found_far : 0u;
  const uint wide = cosine_of_pair > tolerances.cosine && !is_small ? found_wide : 0u;
  return due | far | wide;
}
inline uint found_in_pair(float alpha, float beta, float size, BlockTolerances tolerances) {
  return found_with_cosine(cosine(alpha, beta, size), alpha, beta, size, tolerances);
}

inline bool asks_for_rotation(uint found) { return (found & found_due) != 0u; }

// Where no more is turned than asks for it. Of one bit: what waits for it need not wait for the others.
inline bool is_turned(uint found, BlockTolerances) { return asks_for_rotation(found); }

inline bool asks_for_sweep(uint found) { return (found & found_far) != 0u && (found & found_wide) != 0u; }

// The sweep that a matrix is to make, by its words in `states`.
inline int sweep_due(device const int* states) { return min(states[state_far], states[state_wide]); }
inline int sweep_due(device atomic_int* states) {
  return min(atomic_load_explicit(states + state_far, memory_order_relaxed),
             atomic_load_explicit(states + state_wide, memory_order_relaxed));
}

// What has been found in `sweep` asks for the next one, if what others find does too. By one thread of each that has
// found it: the words are atomic, and all raise them to the same number.
inline void ask_for_next_sweep(device atomic_int* states, uint found, int sweep) {
  if ((found & found_far) != 0u) atomic_fetch_max_explicit(states + state_far, sweep + 1, memory_order_relaxed);
  if ((found & found_wide) != 0u) atomic_fetch_max_explicit(states + state_wide, sweep + 1, memory_order_relaxed);
}

}  // namespace metalsvd
