// Every operator of metalsvd: schemas and dispatch keys. Gradients, fake tensors, batching and the errors that `svd`
// raises are registered in Python (python/metalsvd/).
#include <torch/csrc/stable/library.h>

#include "launch.h"
#include "svd.h"

STABLE_TORCH_LIBRARY(metalsvd, m) {
  // U, S, Vh of torch.linalg.svd. Raises torch.linalg.LinAlgError where a matrix is not finite or did not converge.
  m.def(
      "svd(Tensor A, bool full_matrices=False, bool compute_uv=True, *, str? driver=None) "
      "-> (Tensor U, Tensor S, Tensor Vh)");
  // The same and, for each matrix, what happened to it; never raises on data and never waits for the device.
  m.def(
      "svd_ex(Tensor A, bool full_matrices=False, bool compute_uv=True, *, str? driver=None) "
      "-> (Tensor U, Tensor S, Tensor Vh, Tensor info)");
  // The method that svd would run on mps, or on a CUDA device, in words.
  m.def(
      "plan(int batch, int m, int n, ScalarType dtype, bool full_matrices=False, bool compute_uv=True, *, "
      "str? driver=None, int? cuda_device=None) -> str");
  // Compiles the Metal library of that name now rather than at its first launch.
  m.def("compile_library(str library) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(metalsvd, MPS, m) { m.impl("svd_ex", TORCH_BOX(&metalsvd::svd_mps)); }

#ifdef METALSVD_CUDA
STABLE_TORCH_LIBRARY_IMPL(metalsvd, CUDA, m) { m.impl("svd_ex", TORCH_BOX(&metalsvd::svd_cuda)); }
#endif

STABLE_TORCH_LIBRARY_IMPL(metalsvd, CPU, m) { m.impl("svd_ex", TORCH_BOX(&metalsvd::svd_cpu)); }

STABLE_TORCH_LIBRARY_IMPL(metalsvd, CompositeExplicitAutograd, m) {
  m.impl("plan", TORCH_BOX(&metalsvd::plan_in_words));
  m.impl("compile_library", TORCH_BOX(&metalsvd::compile_on_mps));
}
