// The threads that work on one matrix together, and what one thread must know of them.
#pragma once
#include <metal_stdlib>

#include "device_limits.h"

namespace metalsvd {

using namespace metal;

struct Team {
  int index;       // of this thread in the threadgroup
  int threads;     // in the threadgroup
  int lane;        // of the SIMD-group
  int simdgroup;   // of the threadgroup
  int simdgroups;  // in the threadgroup
};

inline Team make_team(uint index, uint threads, uint lane, uint simdgroup) {
  Team team;
  team.index = int(index);
  team.threads = int(threads);
  team.lane = int(lane);
  team.simdgroup = int(simdgroup);
  team.simdgroups = team.threads / limits::simd_width;
  return team;
}

// The first entry from `first` on that one of `lanes` lanes owns, every `lanes`-th counted from entry 0: a lane must
// meet the same entries whatever the reflector, since no barrier stands between two of them. `lanes` is a power of two.
inline int first_owned(int first, int lane, int lanes) { return first + ((lane - first) & (lanes - 1)); }

// A SIMD-group as teams of limits::team_lanes lanes, to which columns, or other work, are dealt in turn: the number of
// its first team in the threadgroup, from there to the next that it has, this thread's team in it, its lane in that.
inline int first_team(Team team) { return team.simdgroup * limits::teams_per_simdgroup; }
inline int team_step(Team team) { return team.simdgroups * limits::teams_per_simdgroup; }
inline int team_in_simdgroup(Team team) { return team.lane / limits::team_lanes; }
inline int lane_in_team(Team team) { return team.lane % limits::team_lanes; }

// All bits that threads of the threadgroup have set, told to every thread; as threadgroup_max.
inline uint threadgroup_or(uint value, threadgroup uint* slots, Team team) {
  const uint of_simdgroup = simd_or(value);
  if (team.lane == 0) slots[team.simdgroup] = of_simdgroup;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint result = simd_or(team.lane < team.simdgroups ? slots[team.lane] : 0u);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return result;
}

// The sum of what threads have, told to every thread; as threadgroup_max.
inline float threadgroup_sum(float value, threadgroup float* slots, Team team) {
  const float of_simdgroup = simd_sum(value);
  if (team.lane == 0) slots[team.simdgroup] = of_simdgroup;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float sum = 0.0f;
#pragma unroll 8
  for (int k = 0; k < team.simdgroups; ++k) sum += slots[k];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return sum;
}

// The largest `value` of the whole threadgroup, told to every thread. `slots` has a word for each SIMD-group and is
// free for other use when this returns. Two barriers.
inline uint threadgroup_max(uint value, threadgroup uint* slots, Team team) {
  const uint largest = simd_max(value);
  if (team.lane == 0) slots[team.simdgroup] = largest;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint result = simd_max(team.lane < team.simdgroups ? slots[team.lane] : 0u);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return result;
}

}  // namespace metalsvd
