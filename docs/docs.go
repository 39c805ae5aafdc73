// Package docs holds those documents that the program prints, and that tests keep true.
package docs

import (
	"embed"
	"fmt"
)

// Kernels is kernels.md, with the table of what each kernel offers.
//
//go:embed kernels.md
var Kernels string

//go:embed causes/*.md
var causes embed.FS

// Cause is the page of a cause of that name, causes/NAME.md.
func Cause(name string) (string, error) {
	page, err := causes.ReadFile("causes/" + name + ".md")
	if err != nil {
		return "", fmt.Errorf("read page of cause: %w", err)
	}
	return string(page), nil
}
