//! Tells the compiler which Python this is for, as `#[cfg(Py_GIL_DISABLED)]` and others.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
