// A kernel for each helper of kernels/common that numbers can go wrong in.
#include "block_seating.h"
#include "block_wide_solve.h"
#include "common/columns.h"
#include "common/entries.h"
#include "common/householder.h"
#include "common/pairs.h"
#include "common/pivoted_qr.h"
#include "common/power_of_two.h"
#include "common/rotation.h"
#include "common/scalar.h"
#include "common/team.h"
#include "device_limits.h"

namespace metalsvd {
using namespace metal;

// pairs[round][index] = (p, q), a thread a round.
[[kernel]] void tournament(device int* pairs [[buffer(0)]], constant long& columns [[buffer(1)]],
                           uint round [[thread_index_in_threadgroup]]) {
  const int half_columns = (int(columns) + 1) / 2;
  if (int(round) >= round_count(int(columns))) return;
  for (int index = 0; index < half_columns; ++index) {
    const Pair pair = round_robin_pair(int(round), index, int(columns));
    pairs[2 * (int(round) * half_columns + index)] = pair.p;
    pairs[2 * (int(round) * half_columns + index) + 1] = pair.q;
  }
}

// columns[table][seat], a thread a seat: of one round.
[[kernel]] void seating(device int* columns [[buffer(0)]], constant long& count [[buffer(1)]],
                        constant long& classes [[buffer(2)]], constant long& order [[buffer(3)]],
                        constant long& point_bits [[buffer(4)]], constant long& slope [[buffer(5)]],
                        constant long& polynomial [[buffer(6)]], uint thread_index [[thread_position_in_grid]]) {
  const Seating round = make_seating(classes, order, point_bits, slope, polynomial);
  const int seats = 1 << limits::block_seat_bits;
  columns[thread_index] = column_at_seat(round, int(thread_index) / seats, int(thread_index) % seats, int(count));
}

// J - I in place of the Gram matrix G of a table, row after row, what was found, and where its 64 columns go.
[[kernel, max_total_threads_per_threadgroup(limits::block_threads)]] void turn_table(
    device float* G [[buffer(0)]], device int* found [[buffer(1)]], device int* seats [[buffer(2)]],
    constant long& sweep [[buffer(3)]], constant long& rows [[buffer(4)]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 tile[wide_product_entries / 4];
  threadgroup float4 told[2 * wide_told / 4];
  threadgroup int seats_of_table[2 * wide_pair];
  threadgroup uint slots[limits::simdgroups_per_threadgroup];
  threadgroup float* const words = (threadgroup float*)tile;
  const WideMemory memory = make_wide_memory(words, told, seats_of_table, slots);
  const Team team = make_team(thread_index, limits::block_threads, lane, simdgroup);
  if (team.index < wide_pair) take_seat(memory, team.index, team.index);
  for (int index = team.index; index < wide_gram_entries; index += team.threads) words[index] = G[index];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const BlockTolerances tolerances = make_wide_tolerances(rows, wide_pair);
  const uint bits = solve_wide(memory, int(sweep), limits::block_wide_passes, tolerances, team);
  if (team.index == 0) found[0] = int(bits);
  if (team.index < wide_pair) seats[team.index] = seats_of_table[wide_pair + team.index];
  for (int index = team.index; index < wide_gram_entries; index += team.threads) {
    G[index] = words[index / wide_pair * wide_product_stride + index % wide_pair];
  }
}

// scaled[i] = values[i] 2^shifts[i], exponents[i] = floor(log2 |values[i]|).
[[kernel]] void powers(device const float* values [[buffer(0)]], device const int* shifts [[buffer(1)]],
                       device float* scaled [[buffer(2)]], device int* exponents [[buffer(3)]],
                       constant long& count [[buffer(4)]], uint i [[thread_position_in_grid]]) {
  if (long(i) >= count) return;
  scaled[i] = scale(values[i], shifts[i]);
  exponents[i] = exponent_of(magnitude_bits(values[i]));
}

// values[i] becomes values[i] 2^shift, four neighbours at once.
[[kernel]] void powers_of_four(device float* values [[buffer(0)]], constant long& shift [[buffer(1)]],
                               constant long& count [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  if (4 * long(i) >= count) return;
  float four[4];
  for (int t = 0; t < 4; ++t) four[t] = values[4 * i + t];
  scale_all<4>(four, int(shift));
  for (int t = 0; t < 4; ++t) values[4 * i + t] = four[t];
}

// Rotates column 0 and 1 of X where they need it, and says whether they do.
template <typename T>
[[kernel]] void rotate(device T* X [[buffer(0)]], device int* rotated [[buffer(1)]], constant long& rows [[buffer(2)]],
                       uint lane [[thread_index_in_simdgroup]]) {
  const int height = int(rows);
  device T* p = X;
  device T* q = X + rows;
  const float alpha = simd_sum(square_of_column<T>(p, height, int(lane)));
  const float beta = simd_sum(square_of_column<T>(q, height, int(lane)));
  const T gamma = column_dot<T>(p, q, 1, 0, height, int(lane));
  const bool needed = needs_rotation(alpha, beta, gamma, jacobi_tolerance(height));
  if (lane == 0) rotated[0] = needed ? 1 : 0;
  if (needed) rotate_columns(p, q, height, orthogonalizing_rotation(alpha, beta, gamma), int(lane));
}

// squares[0] = |x|^2, largest[0] = its entry of largest magnitude, and x normalised and turned.
template <typename T>
[[kernel]] void column(device T* x [[buffer(0)]], device float* squares [[buffer(1)]], device T* largest [[buffer(2)]],
                       constant long& rows [[buffer(3)]], uint lane [[thread_index_in_simdgroup]]) {
  const int height = int(rows);
  const float square = simd_sum(square_of_column<T>(x, height, int(lane)));
  const T entry = largest_of_column<T>(x, height, int(lane));
  if (lane == 0) {
    squares[0] = square;
    largest[0] = entry;
  }
  if (square == 0.0f) return;
  normalize_column(x, height, precise::sqrt(square), conjugate(phase_of_column<T>(x, height, int(lane))), int(lane));
}

// x becomes the v of its reflector from row `first` on; results = (r, tau); y is reflected.
template <typename T>
[[kernel]] void reflector(device T* x [[buffer(0)]], device T* y [[buffer(1)]], device T* results [[buffer(2)]],
                          constant long& first [[buffer(3)]], constant long& rows [[buffer(4)]],
                          uint lane [[thread_index_in_simdgroup]]) {
  float tau;
  const T r = make_reflector<T>(x, int(first), int(rows), int(lane), tau);
  reflect<T>(x, tau, y, 1, int(first), int(rows), int(lane));
  if (lane == 0) {
    results[0] = r;
    results[1] = from_real<T>(tau);
  }
}

// |x|^2, then x^H y + 1, of five entries.
template <typename T>
[[kernel]] void entries(device const T* x [[buffer(0)]], device const T* y [[buffer(1)]],
                        device float* square [[buffer(2)]], device T* product [[buffer(3)]],
                        uint index [[thread_position_in_grid]]) {
  if (index != 0u) return;
  T held_x[5];
  T held_y[5];
  for (int t = 0; t < 5; ++t) {
    held_x[t] = x[t];
    held_y[t] = y[t];
  }
  square[0] = square_of_entries<5>(held_x);
  product[0] = product_of_entries<5, 4>(held_x, held_y) + from_real<T>(1.0f);
}

// B Pi = Q R: Q takes the place of B, R columns x columns.
template <typename T>
[[kernel]] void qr(device T* B [[buffer(0)]], device T* R [[buffer(1)]], device uint* order [[buffer(2)]],
                   constant long& rows [[buffer(3)]], constant long& columns [[buffer(4)]],
                   uint index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
                   uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup T tile[1024];
  threadgroup uint two_states[64];
  threadgroup uint pivots[32];
  const Team team = make_team(index, threads, lane, simdgroup);
  const int height = int(rows);
  const int n = int(columns);
  for (int i = team.index; i < height * n; i += team.threads) tile[i] = B[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threadgroup const uint* states = factor_pivoted(tile, two_states, pivots, R, n, height, n, team);
  threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device);
  for (int i = team.index; i < n * n; i += team.threads) {
    const int row = i % n;
    const int column = i / n;
    const T above = row < column ? tile[int(pivots[column]) * height + row] : from_real<T>(0.0f);
    R[i] = row == column ? conjugate(R[i]) : above;
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  form_pivoted(tile, states, pivots, height, n, team);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (int i = team.index; i < height * n; i += team.threads)
    B[i] = tile[int(pivots[i / height]) * height + i % height];
  for (int k = team.index; k < n; k += team.threads) order[k] = pivots[k];
}

template [[host_name("rotate_f32")]] [[kernel]] decltype(rotate<float>) rotate<float>;
template [[host_name("rotate_c64")]] [[kernel]] decltype(rotate<float2>) rotate<float2>;
template [[host_name("column_f32")]] [[kernel]] decltype(column<float>) column<float>;
template [[host_name("column_c64")]] [[kernel]] decltype(column<float2>) column<float2>;
template [[host_name("reflector_f32")]] [[kernel]] decltype(reflector<float>) reflector<float>;
template [[host_name("reflector_c64")]] [[kernel]] decltype(reflector<float2>) reflector<float2>;
template [[host_name("entries_f32")]] [[kernel]] decltype(entries<float>) entries<float>;
template [[host_name("entries_c64")]] [[kernel]] decltype(entries<float2>) entries<float2>;
template [[host_name("qr_f32")]] [[kernel]] decltype(qr<float>) qr<float>;
template [[host_name("qr_c64")]] [[kernel]] decltype(qr<float2>) qr<float2>;

}  // namespace metalsvd
