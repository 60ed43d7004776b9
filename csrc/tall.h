// The tall QR in front of a method: the launches of kernels/tall.h around those that factor R, and their workspace.
#pragma once

#include <vector>

#include "launch.h"
#include "matrices.h"
#include "plan.h"
#include "svd.h"

namespace metalsvd {

// For one call: B = Q R by `reduce`, then the caller factors R into `factors_of_R`, then `expand` makes the factors of
// A of these.
class TallQr {
 public:
  // `plan` has a reduction.
  TallQr(const Plan& plan, const Matrices& A, const Factors& factors);

  // One launch for the scale of each matrix and one a level.
  std::vector<Launch> reduce() const;
  // R, or R^T when A is wide, scaled by a power of two.
  Matrices R() const;
  Factors factors_of_R() const { return factors_of_R_; }
  // One launch a level and two to finish, and two for full matrices; only one without vectors.
  std::vector<Launch> expand() const;

 private:
  Launch launch(const std::string& kernel, std::int64_t threadgroups, std::int64_t threads,
                std::vector<Argument> arguments) const;
  std::int64_t units(std::size_t level) const;

  Plan plan_;
  Matrices A_;
  Factors factors_;       // of A
  Factors factors_of_R_;  // with the info of A: nothing else can go wrong
  Tensor magnitudes_;     // a word for each strip of each matrix
  // Of each level: its rows on the way up, then its Q, then on the way down the product of all Q from here on with the
  // singular vectors. R is the last.
  std::vector<Tensor> levels_;
  Tensor largest_;  // of each column of P in each chunk
  Tensor turns_;    // of each column of P
  // Full matrices: the reflectors of P and the triangle that joins them.
  Tensor V_;
  Tensor W_;
};

}  // namespace metalsvd
