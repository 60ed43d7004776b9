// The tall QR in front of a method: the launches of kernels/tall_*.h around those that factor R, and their workspace.
#pragma once

#include <optional>
#include <vector>

#include "../kernels/device_limits.h"
#include "cholesky_qr.h"
#include "launch.h"
#include "matrices.h"
#include "panels.h"
#include "plan.h"
#include "reflectors.h"
#include "svd.h"

namespace metalsvd {

// For one call: B = Q R by `reduce`, then the caller factors R into `factors_of_R`, then `expand` makes the factors of
// A of these.
class TallQr {
 public:
  // `plan` has a reduction.
  TallQr(const Plan& plan, const Matrices& A, const Factors& factors);

  // One launch for the scale of each matrix, three to sort its columns where the method wants that, those of
  // CholeskyQr::factor where that may settle it, those of PanelQr::factor or BlockReflectors::factor, and where there
  // are several panels two to copy, or three where B is needed once more. What reads A is a step of its own there: the
  // others may come again with the same tensors (backends/cuda_replay.h).
  std::vector<Step> reduce() const;
  // R, or R^T when A is wide, scaled by a power of two. `plan` tells which of R and R^H the method is to factor.
  Matrices R() const;
  // What left vectors are recovered from (recovery.h): R, or where B is square B itself as it has been reduced, scaled
  // and sorted.
  Matrices recovered() const;
  // Without the left vectors of R where these are not accumulated.
  Factors factors_of_R() const { return factors_of_R_; }
  // The left vectors of R among these.
  Matrices vectors_of_R() const;
  // Those of CholeskyQr::expand and PanelQr::expand and two launches to finish; only one without vectors. The vectors
  // are those of B already where they were recovered from it.
  std::vector<Step> expand(const Matrices& vectors_of_R) const;

 private:
  // B as it has been reduced, scaled and sorted.
  Matrices numbers() const;
  void sort(std::vector<Launch>& launches) const;
  Launch load() const;
  // What PanelQr::expand reports of P, of a P that it has not made.
  void report(const Matrices& P, Tensor& largest, Tensor& squares, std::vector<Launch>& launches) const;
  Launch launch(const std::string& kernel, std::int64_t threadgroups, std::vector<Argument> arguments,
                std::int64_t threads = limits::tall_threads) const;

  Plan plan_;
  Matrices B_;
  Factors factors_;                // of A
  Tensor magnitudes_;              // a word for each strip of each matrix
  std::optional<Tensor> settled_;  // a word for each matrix, where CholeskyQr may need no panels
  PanelQr panels_;
  std::optional<CholeskyQr> cholesky_;
  std::optional<BlockReflectors> reflectors_;
  Numbers R_;
  Factors factors_of_R_;  // with the info of A: nothing else can go wrong
  Tensor turns_;          // of each column of P
  Tensor order_;          // of the columns of B; where they are not sorted, what no kernel reads
  Tensor squares_;        // of the lengths of the columns of B, scaled; likewise
};

}  // namespace metalsvd
