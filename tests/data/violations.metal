// Seeded violations for the strict Metal check. Each block is checked on its own, behind the first lines of this file, and
// must be rejected on the line marked `here` with a message that holds the text behind the name. Nowhere else may it be.
#include <metal_stdlib>
using namespace metal;

// reject: pointer without address space: without an address space
float first(float* p) { return p[0]; }  // here

// reject: reference without address space: without an address space
void set(float& x) { x = 1.0f; }  // here

// reject: auto reference without address space: without an address space
float head(device float* p) {
  auto& x = p[0];  // here
  return x;
}

// reject: second declarator without address space: without an address space
float two(device float* p) {
  thread float x = p[0];
  thread float *a = &x, &b = x;
  float *c = &x;  // here
  return *a + b + *c;
}

// reject: outer pointer without address space: without an address space
float outer(device float* thread* p, device float** q) {  // here
  return p[0][0] + q[0][0];
}

// reject: returned pointer without address space: without an address space
template <typename T>
T* same(device T* p) {  // here
  return nullptr;
}

// reject: member without address space: without an address space
struct Columns {
  float* first;  // here
};

// reject: alias without address space: without an address space
using Row = float*;  // here

// reject: cast without address space: without an address space
float cast(thread int& x) { return *(float*)&x; }  // here

// reject: device pointer to threadgroup pointer: cannot pass pointer to `device` as a pointer to `threadgroup`
float sum(threadgroup float* p) { return p[0] + p[1]; }
float call(device float* p) {
  return sum(p);  // here
}

// reject: cast across address spaces: cast across address spaces
float cross(threadgroup float* p) {
  device float* q = (device float*)p;  // here
  return q[0];
}

// reject: reinterpret_cast across address spaces: reinterpret_cast from 'threadgroup float *'
float cross(threadgroup float* p) {
  device float* q = reinterpret_cast<device float*>(p);  // here
  return q[0];
}

// reject: local variable in device memory: a local variable cannot be placed in device
void local() {
  device float x;  // here
}

// reject: tile not begun with threadgroup: a local variable cannot be placed in device, constant or threadgroup
[[kernel, max_total_threads_per_threadgroup(64)]] void k() {
  float threadgroup x[4];  // here
}

// reject: writing a constant: read-only variable is not assignable
constant int steps = 3;
void write(constant int* p) {
  p[0] = steps;  // here
}

// reject: method on a device object: a method of 'device Shape' is called on an object that is not in `thread` memory
struct Shape {
  int rows;
  int size() const { return rows * rows; }
};
int size(device Shape* shapes) {
  return shapes[0].size();  // here
}

// reject: struct in device bound to a thread reference: no matching function for call to 'rows'
struct Shape {
  int n;
};
int rows(thread const Shape& shape) { return shape.n; }
int size(device Shape* shapes) {
  return rows(shapes[0]);  // here
}

// reject: struct stored through a pointer to const: no viable overloaded '='
struct Shape {
  int n;
};
void store(device const Shape* shapes, Shape shape) {
  shapes[0] = shape;  // here
}

// reject: conversion operator on a device object: no viable conversion
struct Angle {
  float value;
  operator float() const { return value; }
};
float angle(device Angle* angles) {
  float x = angles[0];  // here
  return x;
}

// reject: double: 'double' is not in Metal
float half_of(float x) {
  double y = x;  // here
  return y;
}

// reject: double literal: write 1.0f
float plus(float x) {
  return x + 1.0;  // here
}

// reject: double literal in a template that nobody instantiates: write 1.0f
template <typename T>
T plus(T x) {
  return x + T(1.0);  // here
}

// reject: double literal behind a macro: write 1.0f
#define SCALE 0.5
float scale(float x) {
  return x * SCALE;  // here
}

// reject: double literal in a constant: write 1.0f
constant float table[2] = {1.0f, 0.5};  // here

// reject: double literal behind a whole-struct copy: write 1.0f
struct Complex {
  float re, im;
};
void scale(device Complex* p, constant Complex& q) {
  Complex z = p[0];
  p[1] = q;
  z.re *= 0.5;  // here
  p[0] = z;
}

// reject: double by deduction in an instantiated kernel: write 1.0f
template <typename T>
struct Half {
  enum { denominator = 2 };
};
template <typename T>
[[kernel, max_total_threads_per_threadgroup(64)]] void halve(device T* p [[buffer(0)]]) {
  p[0] = p[0] * (1e0 / Half<T>::denominator);  // here
}
template [[host_name("halve_f32")]] [[kernel]] decltype(halve<float>) halve<float>;

// reject: long double literal: long double is not in Metal
float plus(float x) {
  return x + 1.0L;  // here
}

// reject: long double: 'double' is not in Metal
void k() {
  long double x;  // here
}

// reject: long long: long has 64 bits
long next(long x) {
  long long y = x + 1;  // here
  return y;
}

// reject: run-time barrier flags: needs one mem_flags that is a compile-time constant
void wait(bool device_too) {
  const mem_flags flags = device_too ? mem_flags::mem_device : mem_flags::mem_threadgroup;
  threadgroup_barrier(flags);  // here
}

// reject: run-time barrier flags, in the call: needs one mem_flags that is a compile-time constant
void wait(bool device_too) {
  simdgroup_barrier(device_too ? mem_flags::mem_device : mem_flags::mem_none);  // here
}

// reject: barrier without flags: needs one mem_flags that is a compile-time constant
void wait() {
  threadgroup_barrier();  // here
}

// reject: flags that do not exist: 'mem_everything'
void wait() {
  threadgroup_barrier(mem_flags::mem_everything);  // here
}

// reject: recursion: recursion is not in Metal: factorial -> factorial
int factorial(int n) {
  return n < 2 ? 1 : n * factorial(n - 1);  // here
}

// reject: mutual recursion: recursion is not in Metal
int odd(int n);
int even(int n) {
  return n == 0 ? 1 : odd(n - 1);
}
int odd(int n) {
  return n == 0 ? 0 : even(n - 1);  // here
}

// reject: recursion of an instantiated template: recursion is not in Metal
template <typename T>
T power(T x, int n) {
  return n == 0 ? T(1) : x * power(x, n - 1);  // here
}
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]]) {
  p[0] = power(p[0], 3);
}

// reject: recursion of a method: recursion is not in Metal
struct Tree {
  int depth;
  int count(int n) { return n == 0 ? 0 : count(n - 1); }  // here
};

// reject: function without a body: 'missing' is declared but never defined
float missing(float x);
float call(float x) {
  return missing(x);  // here
}

// reject: function pointer: is a function pointer
float twice(float x) { return 2.0f * x; }
float apply(float x) {
  float (thread *f)(float) = twice;  // here
  return f(x);
}

// reject: function pointer by auto: is a function pointer
float twice(float x) { return 2.0f * x; }
float apply(float x) {
  auto f = twice;  // here
  return f(x);
}

// reject: function as template parameter: is a function pointer
template <float (thread *f)(float)>  // here
float apply(float x) {
  return f(x);
}

// reject: function passed to a template: is a function pointer
float twice(float x) { return 2.0f * x; }
template <typename F>
float apply(F f, float x) {  // here
  return f(x);
}
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]]) { p[0] = apply(twice, p[0]); }

// reject: lambda: lambdas are not in Metal
float call(float x) {
  return [](float y) { return y + 1.0f; }(x);  // here
}

// reject: static variable: is a static variable
int next() {
  static int count = 0;  // here
  return ++count;
}

// reject: static constant in a function: is a static variable
int next(int i) {
  static constexpr int step = 2;  // here
  return i + step;
}

// reject: global variable: at program scope must be `constant`
int counter = 0;  // here

// reject: global constexpr without address space: at program scope must be `constant`
constexpr int threads = 256;  // here

// reject: static member without address space: at program scope must be `constant`
struct Limits {
  static constexpr int lanes = 32;  // here
};

// reject: global threadgroup variable: at program scope must be `constant`
threadgroup float tile[32];  // here

// reject: extern constant: is extern
extern constant float scale;  // here

// reject: constant without initialiser: default initialization of an object of const type
constant float scale;  // here

// reject: dynamic initialiser of a constant: needs a compile-time initialiser
constant float root = metal::sqrt(2.0f);  // here

// reject: threadgroup variable outside a kernel: outside a kernel
float helper(float x) {
  threadgroup float tile[32];  // here
  tile[0] = x;
  return tile[0];
}

// reject: initialised threadgroup variable: a threadgroup variable cannot be initialised
[[kernel, max_total_threads_per_threadgroup(64)]] void k() {
  threadgroup float tile[2] = {0.0f, 0.0f};  // here
}

// reject: static threadgroup variable: a threadgroup variable cannot be static
[[kernel, max_total_threads_per_threadgroup(64)]] void k() {
  static threadgroup float tile[2];  // here
}

// reject: threadgroup variable with a constructor: a threadgroup variable cannot have a constructor
struct Counter {
  int n;
  Counter() : n(0) {}
};
[[kernel, max_total_threads_per_threadgroup(64)]] void k() {
  threadgroup Counter counter;  // here
}

// reject: too much threadgroup memory: takes 32772 bytes of threadgroup memory
[[kernel, max_total_threads_per_threadgroup(64)]] void k() {  // here
  threadgroup float tile[32][256];
  threadgroup uint flag;
}

// reject: threadgroup variable in a block: must stand in the outermost scope
template <int n>
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]]) {
  if (n > 0) {
    threadgroup float tile[32];  // here
    p[0] = tile[0];
  }
}

// reject: too much threadgroup memory in one instantiation: takes 36864 bytes of threadgroup memory
template <typename T, int N>
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device T* p [[buffer(0)]]) {
  threadgroup T tile[N][N];
  p[0] = tile[0][0];
}
template [[host_name("k_64_f32")]] [[kernel]] decltype(k<float, 64>) k<float, 64>;
template [[host_name("k_96_f32")]] [[kernel]] decltype(k<float, 96>) k<float, 96>;  // here

// reject: kernel that returns: a kernel returns void
[[kernel, max_total_threads_per_threadgroup(64)]] float k(device float* p [[buffer(0)]]) { return p[0]; }  // here

// reject: kernel called by a kernel: cannot be called by a function
[[kernel, max_total_threads_per_threadgroup(64)]] void first(device float* p [[buffer(0)]]) { p[0] = 0.0f; }
[[kernel, max_total_threads_per_threadgroup(64)]] void second(device float* p [[buffer(0)]]) {
  first(p);  // here
}

// reject: kernel parameter without attribute: kernel parameter 'n' has no attribute
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]],
                                                         constant int& n) {  // here
  p[0] = float(n);
}

// reject: kernel parameter with two attributes: has two attributes
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]] [[buffer(1)]]) {  // here
  p[0] = 0.0f;
}

// reject: unknown attribute: attribute [[thread_index_in_grid]] is not in the dialect
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]],
                                                         uint i [[thread_index_in_grid]]) {  // here
  p[i] = 0.0f;
}

// reject: dynamic threadgroup memory: attribute [[threadgroup]] is not in the dialect
[[kernel, max_total_threads_per_threadgroup(64)]] void k(threadgroup float* tile [[threadgroup(0)]]) {  // here
  tile[0] = 0.0f;
}

// reject: duplicate buffer index: a second [[buffer(1)]]
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* a [[buffer(1)]],
                                                         device float* b [[buffer(1)]]) {  // here
  a[0] = b[0];
}

// reject: buffer index beyond 30: the index is a number from 0 to 30
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* a [[buffer(31)]]) {  // here
  a[0] = 0.0f;
}

// reject: buffer by value: must be a device or constant pointer or reference
[[kernel, max_total_threads_per_threadgroup(64)]] void k(int n [[buffer(0)]]) {}  // here

// reject: buffer in thread memory: must be a device or constant pointer or reference
[[kernel, max_total_threads_per_threadgroup(64)]] void k(thread float* p [[buffer(0)]]) {}  // here

// reject: buffer of bool: of bool
[[kernel, max_total_threads_per_threadgroup(64)]] void k(constant bool& transposed [[buffer(0)]]) {}  // here

// reject: buffer of pointers: is a pointer to a pointer
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* device* p [[buffer(0)]]) {}  // here

// reject: no max_total_threads_per_threadgroup: lacks [[max_total_threads_per_threadgroup(n)]]
[[kernel]] void k(device float* p [[buffer(0)]]) { p[0] = 0.0f; }  // here

// reject: keyword kernel without max_total_threads_per_threadgroup: lacks [[max_total_threads_per_threadgroup(n)]]
kernel void k(device float* p [[buffer(0)]]) { p[0] = 0.0f; }  // here

// reject: too many threads: max_total_threads_per_threadgroup must be 1 to 1024
enum { threads = 2048 };
[[kernel, max_total_threads_per_threadgroup(threads)]] void k(device float* p [[buffer(0)]]) { p[0] = 0.0f; }  // here

// reject: too many threads in one instantiation: max_total_threads_per_threadgroup must be 1 to 1024
template <int simdgroups>
[[kernel]] [[max_total_threads_per_threadgroup(simdgroups * 32)]]  // here
void k(device float* p [[buffer(0)]]) {
  p[0] = 0.0f;
}
template [[host_name("k_8")]] [[kernel]] decltype(k<8>) k<8>;
template [[host_name("k_64")]] [[kernel]] decltype(k<64>) k<64>;

// reject: positions of different width: must have the same number of components
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]],
                                                         uint3 group [[threadgroup_position_in_grid]],
                                                         uint i [[thread_position_in_threadgroup]]) {  // here
  p[group.x * 64 + i] = 0.0f;
}

// reject: positions of different type: must have the same type
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]],
                                                         uint i [[thread_position_in_grid]],
                                                         ushort n [[threads_per_grid]]) {  // here
  p[i] = float(n);
}

// reject: signed position: must be uint or ushort
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]],
                                                         int i [[thread_position_in_grid]]) {  // here
  p[i] = 0.0f;
}

// reject: vector index: must be uint or ushort
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]],
                                                         uint2 lane [[thread_index_in_simdgroup]]) {  // here
  p[lane.x] = 0.0f;
}

// reject: ushort position with uint index: [[thread_index_in_threadgroup]] must be uint
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]],
                                                         uint2 position [[thread_position_in_threadgroup]],
                                                         ushort i [[thread_index_in_threadgroup]]) {  // here
  p[position.x] = float(i);
}

// reject: names differ in an instantiation: the instantiated name differ
template <typename T>
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device T* p [[buffer(0)]]) { p[0] = T(0); }
template [[host_name("k_f16")]] [[kernel]] decltype(k<half>) k<float>;  // here

// reject: two kernels of one host name: a second kernel with the host name "k_f32"
template <typename T>
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device T* p [[buffer(0)]]) { p[0] = T(0); }
template [[host_name("k_f32")]] [[kernel]] decltype(k<float>) k<float>;
template [[host_name("k_f32")]] [[kernel]] decltype(k<half>) k<half>;  // here

// reject: instantiation without kernel: is instantiated with both
template <typename T>
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device T* p [[buffer(0)]]) { p[0] = T(0); }
template [[host_name("k_f32")]] decltype(k<float>) k<float>;  // here

// reject: instantiation of nothing: 'k_typo'
template [[host_name("k_f32")]] [[kernel]] decltype(k_typo<float>) k_typo<float>;  // here

// reject: error in an instantiated body: no member named 'y' in 'Real'
struct Real {
  float x;
};
template <typename T>
float imaginary(T a) {
  return a.y;  // here
}
template <typename T>
[[kernel, max_total_threads_per_threadgroup(64)]] void k(device float* p [[buffer(0)]]) {
  T a;
  a.x = p[0];
  p[0] = imaginary(a);
}
template [[host_name("k_real")]] [[kernel]] decltype(k<Real>) k<Real>;

// reject: kernel from a macro: a kernel cannot come from a macro
#define KERNEL(name) kernel void name(device float* p [[buffer(0)]]) { p[0] = 0.0f; }  // here

// reject: simd function on a struct: simd_sum does not take this
struct Complex {
  float re, im;
};
float sum(Complex z) {
  return simd_sum(z).re;  // here
}

// reject: simd function on 64 bits: simd_max does not take this
long largest(long x) {
  return simd_max(x);  // here
}

// reject: bits of floats: simd_or does not take this
float any(float x) {
  return simd_or(x);  // here
}

// reject: as_type of another size: as_type needs two types of the same size
ulong bits(float x) {
  return as_type<ulong>(x);  // here
}

// reject: ambiguous max: call to 'max' is ambiguous
uint larger(int a, uint b) {
  return max(a, b);  // here
}

// reject: integer square root: call to 'sqrt' is ambiguous
float root(int n) {
  return sqrt(n);  // here
}

// reject: too few vector components: the components do not add up
float3 point(float x) {
  return float3(x, x);  // here
}

// reject: fast math: 'fast' is not declared here and not in the dialect
float root(float x) {
  return fast::sqrt(x);  // here
}

// reject: function outside the dialect: 'sinpi' is not declared here and not in the dialect
float wave(float x) {
  return sinpi(x);  // here
}

// reject: function outside the dialect, qualified: 'sinpi' is not declared here and not in the dialect
float wave(float x) {
  return metal::precise::sinpi(x);  // here
}

// reject: type outside the dialect: 'simdgroup_float8x8' is not declared here and not in the dialect
void multiply() {
  simdgroup_float8x8 a;  // here
}

// reject: memory order: 'memory_order_seq_cst' is not declared here and not in the dialect
void add(device atomic_uint* counter) {
  atomic_fetch_add_explicit(counter, 1u, memory_order_seq_cst);  // here
}

// reject: atomic used as a number: no viable overloaded '='
void reset(device atomic_uint* counter) {
  *counter = 0u;  // here
}

// reject: float atomic in threadgroup memory: no matching function for call to 'atomic_fetch_add_explicit'
void add(threadgroup atomic_float* sum) {
  atomic_fetch_add_explicit(sum, 1.0f, memory_order_relaxed);  // here
}

// reject: atomic operation on a plain number: no matching function for call to 'atomic_fetch_add_explicit'
void add(device uint* sum) {
  atomic_fetch_add_explicit(sum, 1u, memory_order_relaxed);  // here
}

// reject: variable length array: variable length arrays are not in Metal
float last(int n) {
  float x[n];  // here
  x[n - 1] = 0.0f;
  return x[n - 1];
}

// reject: standard library: 'std' is not in Metal
float root(float x) {
  return std::sqrt(x);  // here
}

// reject: standard header: is not a header of Metal
#include <cmath>  // here

// reject: new: 'new' is not in Metal
float allocate() {
  return *new float(1.0f);  // here
}

// reject: delete: 'delete' is not in Metal
void release(thread float* p) {
  delete p;  // here
}

// reject: virtual: 'virtual' is not in Metal
struct Method {
  virtual void run() {}  // here
};

// reject: virtual inheritance: 'virtual' is not in Metal
struct Method {
  int n;
};
struct Jacobi : virtual Method {};  // here

// reject: throw: 'throw' is not in Metal
void fail() {
  throw 1;  // here
}

// reject: try: 'try' is not in Metal
int guarded(int x) {
  try { return x; } catch (...) { return 0; }  // here
}

// reject: goto: 'goto' is not in Metal
int jump(int x) {
  goto end;  // here
end:
  return x;
}

// reject: inline assembly: 'asm' is not in Metal
void stop() {
  asm("nop");  // here
}

// reject: dynamic_cast: 'dynamic_cast' is not in Metal
struct Method {
  int n;
};
void down(thread Method* m) {
  dynamic_cast<thread Method*>(m);  // here
}

// reject: typeid: 'typeid' is not in Metal
void name(int x) {
  typeid(x);  // here
}

// reject: thread_local: 'thread_local' is not in Metal
int count() {
  thread_local int n = 0;  // here
  return n;
}

// reject: variadic function: takes any number of arguments
int count(int n, ...) {  // here
  return n;
}

// reject: compiler builtin: belongs to a compiler
int bits(int x) {
  return __builtin_popcount(x);  // here
}

// reject: GNU statement expression: GNU statement expression
int next(int x) {
  return ({ int y = x + 1; y; });  // here
}

// reject: variable called thread: 'thread' is a keyword of Metal
void k() {
  int thread = 0;  // here
}

// reject: member called thread: 'thread' is a keyword of Metal
struct Team {
  int thread;  // here
};

// reject: variable called device: 'device' is a keyword of Metal
int device = 0;  // here

// reject: variable called kernel: 'kernel' is a keyword of Metal
void k() {
  int kernel = 0;  // here
}

// reject: variable called half: 'half' is a word of Metal
float middle(float x) {
  float half = 0.5f * x;  // here
  return half;
}

// reject: parameter called vertex: 'vertex' is a word of Metal
float fragment_of(float vertex) {  // here
  return vertex;
}

// reject: struct called sampler: 'sampler' is a word of Metal
struct sampler {  // here
  int n;
};

// reject: macro called constant: 'constant' is a word of Metal
#define constant const  // here

// reject: function called main: 'main' is a word of Metal
int main() {  // here
  return 0;
}

// reject: no return: non-void function does not return a value
float sign_of(float x) {
  if (x > 0.0f) { return 1.0f; }
}  // here

// reject: uninitialised variable: variable 'sum' is uninitialized when used here
float add(float x) {
  float sum;
  return sum + x;  // here
}

// reject: template auto: 'auto' not allowed in template parameter
template <auto n>  // here
int next() {
  return n + 1;
}
