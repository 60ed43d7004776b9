// The left vectors of R behind the tall QR where method `block` has not accumulated them: the launches of
// kernels/tall_recover.h around those of another QR.
#pragma once

#include "launch.h"
#include "matrices.h"
#include "panels.h"
#include "plan.h"
#include "svd.h"

namespace metalsvd {

// R = Z diag(sigma) X^H with X and sigma from `block`: Z follows from R X.
class Recovery {
 public:
  // `plan` has a recovery. R, and the right vectors of R among `factors_of_R`, are read when the step runs.
  Recovery(const Plan& plan, const Matrices& R, const Factors& factors_of_R);

  // Four launches and those of PanelQr::factor and PanelQr::expand.
  Step recover() const;
  // Z, once that has run.
  Matrices vectors() const;

 private:
  // Of a product: left right; left conj(right) with an upper triangular left; 2 I - left conj(right).
  enum class Kind { plain, upper, reflected };

  Matrices row_major(const Numbers& numbers) const;
  Launch product(const Matrices& left, const Matrices& right, const Numbers& product, Kind kind) const;

  const Reduction reduction_;
  Matrices R_;
  Matrices X_;  // its conjugate
  PanelQr panels_;
};

}  // namespace metalsvd
