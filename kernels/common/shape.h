// What every method is asked to factor, and where its factors go.
#pragma once
#include <metal_stdlib>

namespace metalsvd {

using namespace metal;

// B = P diag(sigma) Q^H, where B is A, or A^H when A is wide, so that B has rows >= columns.
struct Shape {
  int rows;          // of B
  int columns;       // of B
  int left_columns;  // of P that are stored: 0 (singular values only), columns (thin) or rows (full)
  bool transposed;   // B = A^H: P goes to Vh^H and Q to U, otherwise P to U and Q to Vh^H
};

inline Shape make_shape(long rows, long columns, long left_columns, long transposed) {
  Shape shape;
  shape.rows = int(rows);
  shape.columns = int(columns);
  shape.left_columns = int(left_columns);
  shape.transposed = transposed != 0;
  return shape;
}

// Where P or Q lies in the column-major U and Vh of one matrix, and whether as its conjugate. Strides count entries.
struct Place {
  long row_stride;
  long column_stride;
  bool conjugated;
};

inline Place column_major_place(int rows) {
  Place place;
  place.row_stride = 1;
  place.column_stride = rows;
  place.conjugated = false;
  return place;
}

inline Place left_place(Shape shape) {
  Place place;
  place.row_stride = shape.transposed ? shape.left_columns : 1;
  place.column_stride = shape.transposed ? 1 : shape.rows;
  place.conjugated = shape.transposed;
  return place;
}

inline Place right_place(Shape shape) {
  Place place;
  place.row_stride = shape.transposed ? 1 : shape.columns;
  place.column_stride = shape.transposed ? shape.columns : 1;
  place.conjugated = !shape.transposed;
  return place;
}

}  // namespace metalsvd
