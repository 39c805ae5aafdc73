package loader

import "testing"

// ofAllTests is read once for all Loaders of these tests.
var ofAllTests Kernel

// TestFunctionsAreReadOnce wants one table for all Loaders of a process, while the modules are the same.
func TestFunctionsAreReadOnce(t *testing.T) {
	t.Parallel()
	var k Kernel
	for {
		before, err := loadedModules()
		if err != nil {
			t.Fatal(err)
		}
		first, again := k.functions().table.Load(), k.functions().table.Load()
		if after, err := loadedModules(); err != nil || after != before {
			continue // another test has loaded one
		}
		if again != first || len(first.entries) == 0 {
			t.Errorf("%d functions were read, and then %d anew", len(first.entries), len(again.entries))
		}
		break
	}
	first := k.table
	k.modules += "another 0x0\n"
	if k.functions().table.Load() == first {
		t.Error("a module has gone, and nothing was read anew")
	}
}
