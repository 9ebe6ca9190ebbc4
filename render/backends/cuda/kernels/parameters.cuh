// The parameter block of one frame. `render/backends/cuda/parameters.py` fills it and has the same layout as a NumPy
// dtype; a test compares the size and every offset of the two.
//
// Voxel coordinates are in order (i, j, k), a voxel's centre at its whole number. Sample k of pixel (row, column), k a
// whole number, lies at `origin + column * c + row * r + step * k`.
#pragma once

struct Parameters {
    // Voxels: the first pixel's point; steps to the next column, row and (orthographic) sample.
    double origin[3];
    double column[3];
    double row[3];
    double step[3];
    // Perspective: the first pixel's point on the plane relative to the eye, voxels, and the same in mm along rows and
    // columns with the pixel spacing; the squared distance of the plane from the eye, mm^2.
    double eye[3];
    double eye_right_mm, eye_down_mm, spacing_right_mm, spacing_down_mm;
    double eye_distance2_mm2;
    // Distance of samples, mm; position of k = 0 on the lattice, in steps from the plane.
    double step_mm;
    double lattice;
    // Bounds of k from the slab.
    double first, last;

    // Modality value = code * scale + offset; sign is 1 where greater codes win, -1 where lesser do.
    float scale, offset, sign;
    // Entry of the transfer table = (code - table_low) * table_scale + 1/2, from 0 to table_last.
    float table_low, table_scale, table_last;
    float layer_opacity;
    float ambient, diffuse, specular, shininess;
    // Squared gradient floor, (modality units per mm)^2.
    float floor2;
    // Displacement of the gradient's neighbours along i, j and k, voxels.
    float probe[3];
    // 3 x 3, row by row: patient gradient = matrix @ (differences of the neighbours), modality units per mm.
    float gradient[9];
    // 3 x 3, row by row: unit direction in patient space = matrix @ (step of a ray in voxels).
    float ahead[9];
    // How far from the outermost voxel centres a sample must stay to be read without checks, voxels.
    float margin;
    // Voxels around a sample that are read with it.
    float reach;
    // Bricks per voxel of the fine and of the coarse level of the grid.
    float fine_per_voxel, coarse_per_voxel;

    int perspective;
    // Rays, which are the pixels of `out`.
    int width, height;
    // Voxels along i, j, k.
    int size[3];
    // The int16 code of voxels without a value, or one that no int16 has.
    int invalid_code;
    int has_invalid;
    // Bricks along i, j, k.
    int fine_grid[3];
    int coarse_grid[3];
    // Samples that one fine brick bounds, and how many such segments one coarse brick bounds.
    int segment, coarse_segments;
};
