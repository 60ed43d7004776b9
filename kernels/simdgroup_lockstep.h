// SIMD-groups of a threadgroup whose matrices share nothing, but which go on from one part of the work to the next
// together: a core fetches the instructions once for all of them then. It has no room for those of many parts, and
// would wait for instructions as long as for anything else.
#pragma once
#include <metal_stdlib>

#include "common/team.h"

namespace metalsvd {

using namespace metal;

struct Lockstep {
  bool is_kept;
  int simdgroup;
  int simdgroups;
  threadgroup uint* marks;  // a word for each
};

inline Lockstep no_lockstep() {
  Lockstep lockstep;
  lockstep.is_kept = false;
  return lockstep;
}

// That of a threadgroup of which each SIMD-group has a matrix.
inline Lockstep make_lockstep(Team team, threadgroup uint* marks) {
  Lockstep lockstep;
  lockstep.is_kept = team.simdgroups > 1;
  lockstep.simdgroup = team.simdgroup;
  lockstep.simdgroups = team.simdgroups;
  lockstep.marks = marks;
  return lockstep;
}

inline void keep_step(Lockstep lockstep) {
  if (lockstep.is_kept) threadgroup_barrier(mem_flags::mem_none);
}

// It is left by all where one has nothing more to do. A barrier, where it is kept.
inline Lockstep kept_where_all_go_on(bool goes_on, int lane, Lockstep lockstep) {
  if (!lockstep.is_kept) return lockstep;
  if (lane == 0) lockstep.marks[lockstep.simdgroup] = goes_on ? 1u : 0u;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int simdgroup = 0; simdgroup < lockstep.simdgroups; ++simdgroup) {
    if (lockstep.marks[simdgroup] == 0u) lockstep.is_kept = false;
  }
  return lockstep;
}

}  // namespace metalsvd
