// The entry of a kernel: how each parameter is filled, deduced from the kernel's function type. Read behind the kernel
// text.
#undef device
#undef constant
#undef threadgroup
#undef thread

namespace METALSVD_TRANSLATED {
namespace metal {
namespace emulated {

using ::metalsvd::emulator::Size3;
using ::metalsvd::emulator::ThreadPosition;

template <int buffer_index>
struct buffer {
  static constexpr int index = buffer_index;

  template <class T>
  [[gnu::no_sanitize("thread")]] static T fetch(const ThreadPosition&, void* const* buffers) {
    if constexpr (std::is_pointer_v<T>) {
      return static_cast<T>(buffers[index]);
    } else {
      return *static_cast<std::remove_reference_t<T>*>(buffers[index]);
    }
  }
};

template <class T>
[[gnu::no_sanitize("thread")]] inline T position_value(const Size3& size) {
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(size.x);
  } else if constexpr (T::length == 2) {
    T result;
    result.x = static_cast<decltype(result.x)>(size.x), result.y = static_cast<decltype(result.y)>(size.y);
    return result;
  } else {
    T result;
    result.x = static_cast<decltype(result.x)>(size.x), result.y = static_cast<decltype(result.y)>(size.y);
    result.z = static_cast<decltype(result.z)>(size.z);
    return result;
  }
}

template <class T>
[[gnu::no_sanitize("thread")]] inline T position_value(std::uint32_t number) {
  static_assert(std::is_integral_v<T>, "this position parameter is a single uint or ushort");
  return static_cast<T>(number);
}

#define METALSVD_POSITION(name, member)                                                           \
  struct name {                                                                                   \
    static constexpr int index = -1;                                                              \
    template <class T>                                                                            \
    [[gnu::no_sanitize("thread")]] static T fetch(const ThreadPosition& position, void* const*) { \
      return position_value<std::remove_const_t<T>>(position.member);                             \
    }                                                                                             \
  };
METALSVD_POSITION(thread_position_in_grid, in_grid)
METALSVD_POSITION(thread_position_in_threadgroup, in_threadgroup)
METALSVD_POSITION(threadgroup_position_in_grid, threadgroup_in_grid)
METALSVD_POSITION(threads_per_threadgroup, threads_per_threadgroup)
METALSVD_POSITION(threadgroups_per_grid, threadgroups_per_grid)
METALSVD_POSITION(threads_per_grid, threads_per_grid)
METALSVD_POSITION(thread_index_in_threadgroup, index_in_threadgroup)
METALSVD_POSITION(thread_index_in_simdgroup, lane)
METALSVD_POSITION(simdgroup_index_in_threadgroup, simdgroup)
METALSVD_POSITION(simdgroups_per_threadgroup, simdgroups)
#undef METALSVD_POSITION

struct threads_per_simdgroup {
  static constexpr int index = -1;
  template <class T>
  static T fetch(const ThreadPosition&, void* const*) {
    return static_cast<T>(simd_width);
  }
};

template <class Binding, class T>
constexpr ::metalsvd::emulator::Parameter describe() {
  if constexpr (Binding::index < 0) {
    return {-1, true, 1, 0};
  } else {
    static_assert(std::is_pointer_v<T> || std::is_lvalue_reference_v<T>, "a buffer is a pointer or a reference");
    using Element = std::remove_pointer_t<std::remove_reference_t<T>>;
    return {Binding::index, std::is_const_v<Element>, alignof(Element), std::is_pointer_v<T> ? 0 : sizeof(Element)};
  }
}

template <class Signature, auto function, class... Bindings>
struct Entry;

template <class... Types, auto function, class... Bindings>
struct Entry<void (*)(Types...), function, Bindings...> {
  static_assert(sizeof...(Types) == sizeof...(Bindings));
  static constexpr std::size_t count = sizeof...(Types);
  static constexpr ::metalsvd::emulator::Parameter parameters[count + 1] = {describe<Bindings, Types>()..., {}};

  [[gnu::no_sanitize("thread")]] static void run(const ThreadPosition& position, void* const* buffers) {
    function(Bindings::template fetch<Types>(position, buffers)...);
  }
};

template <auto function, class... Bindings>
constexpr ::metalsvd::emulator::Kernel make_kernel(const char* name, const char* const* parameter_names,
                                                   unsigned max_threads) {
  using Called = Entry<decltype(function), function, Bindings...>;
  return {name, &Called::run, Called::parameters, parameter_names, Called::count, max_threads};
}

}  // namespace emulated
}  // namespace metal
}  // namespace METALSVD_TRANSLATED
