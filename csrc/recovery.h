// The left vectors of R behind the tall QR where method `block` has not accumulated them: the launches of
// kernels/tall_recover.h, and those of another QR for the matrices that they do not settle.
#pragma once

#include "launch.h"
#include "matrices.h"
#include "panels.h"
#include "plan.h"
#include "products.h"
#include "svd.h"

namespace metalsvd {

// R = Z diag(sigma) X^H with X and sigma from `block`: Z follows from R X. In place of R that may be B, whose X and
// sigma are the same; then full matrices are completed here.
class Recovery {
 public:
  // `plan` has a recovery. R, which TallQr::recovered names, and the right vectors of R among `factors_of_R` are read
  // when the step runs.
  Recovery(const Plan& plan, const Matrices& R, const Factors& factors_of_R);

  // Z by products: fifteen launches, or of one panel, which takes little time, three.
  Step multiply() const;
  // Z by another QR where it is not settled, and what full matrices have beside it: the launches of PanelQr::factor and
  // PanelQr::expand, one between, and one more for full matrices.
  Step complete() const;
  // Z, or full matrices, once these have run.
  Matrices vectors() const;

 private:
  // Whether products may settle a matrix, and whether Z is to be completed to full matrices.
  bool settles() const;
  bool completes() const;
  std::int64_t left_parts() const;  // of the rows that are looked at for what a step of orthogonalization leaves
  Matrices row_major(const Numbers& numbers, std::int64_t rows) const;
  Launch product(std::int64_t kind, const Matrices& left, const Matrices& right, const Numbers& product) const;
  std::int64_t most_left() const;
  // Z in `source` becomes more orthogonal in `target`, and settled if that makes it so. The last one only copies what
  // is settled.
  void orthogonalize(bool is_last, const Numbers& source, const Numbers& target, Step& step) const;

  const Reduction reduction_;
  bool is_triangular_;
  Matrices R_;
  Matrices X_;  // its conjugate
  torch::stable::Tensor sigma_;
  torch::stable::Tensor settled_;  // a word a matrix
  PanelQr panels_;
  Products products_;
  Numbers square_;                    // I - E, then Gram matrices, then the phases D
  Numbers settled_Z_;                 // what is settled, in the place of P unless that is to be completed
  torch::stable::Tensor defects_;     // of lengths, a number a tile,
  torch::stable::Tensor squares_;     // and of the columns of F, a number each
  torch::stable::Tensor multiplied_;  // which columns of Z are
  torch::stable::Tensor largest_;     // of what a step of orthogonalization leaves, of each part of the rows
};

}  // namespace metalsvd
