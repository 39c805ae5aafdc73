// Package docs holds those documents that tests keep true.
package docs

import _ "embed"

// Kernels is kernels.md, with the table of what each kernel offers.
//
//go:embed kernels.md
var Kernels string
