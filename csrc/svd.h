// Singular value decomposition of torch tensors: checks, outputs and the steps of the algorithm, for every backend.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

namespace metalsvd {

using torch::stable::Tensor;

// U, S, Vh and info. A is (*, m, n); with k = min(m, n), U is (*, m, k) or (*, m, m), S (*, k) and Vh (*, k, n) or
// (*, n, n); without compute_uv U and Vh are empty. info is int32 of shape (*): 0 fine, 1 A is not finite (its factors
// are NaN), 2 not converged. U and Vh are column-major, as torch.linalg.svd returns them.
using Factors = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Factors svd_mps(const Tensor& A, bool full_matrices, bool compute_uv, const std::optional<std::string>& driver);
Factors svd_cuda(const Tensor& A, bool full_matrices, bool compute_uv, const std::optional<std::string>& driver);
Factors svd_cpu(const Tensor& A, bool full_matrices, bool compute_uv, const std::optional<std::string>& driver);

// The same by torch's own aten::_linalg_svd, which knows no `driver` of ours: throws what was `expected` of it.
Factors svd_of_torch(const Tensor& A, bool full_matrices, bool compute_uv, const std::optional<std::string>& driver,
                     const char* expected);

// What `svd_mps` would run, or `svd_cuda` on the CUDA device of that index, in words.
std::string plan_in_words(std::int64_t batch, std::int64_t m, std::int64_t n, torch::headeronly::ScalarType dtype,
                          bool full_matrices, bool compute_uv, const std::optional<std::string>& driver,
                          const std::optional<std::int64_t>& cuda_device);

// Throws in the words of torch.linalg.svd where A has less than two dimensions or is no floating point or complex
// tensor.
void check_matrix(const Tensor& A);

// A tensor of A's device in the column-major layout that torch.linalg.svd returns: sizes (*batch, rows, columns).
Tensor empty_column_major(const Tensor& A, std::int64_t rows, std::int64_t columns);

}  // namespace metalsvd
