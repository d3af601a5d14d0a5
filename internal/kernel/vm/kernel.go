//go:build linux

package vm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Kernel is an unpacked package of a distribution's kernel.
type Kernel struct {
	Name    string // as in the table: "6.1"
	Arch    string // GOARCH
	Release string // as uname -r says
	Image   string // file
	Modules string // folder
}

// unpacked finds what there is in a folder into which a kernel's package was unpacked.
func unpacked(dir, name, arch string) (Kernel, error) {
	k := Kernel{Name: name, Arch: arch}
	images, err := filepath.Glob(filepath.Join(dir, "boot/vmlinu?-*"))
	if err != nil || len(images) != 1 {
		return k, fmt.Errorf("find the kernel in %q: %d images", dir, len(images))
	}
	k.Image = images[0]
	_, k.Release, _ = strings.Cut(filepath.Base(k.Image), "-")
	for _, lib := range []string{"lib", "usr/lib"} {
		if at := filepath.Join(dir, lib, "modules", k.Release); isDir(at) {
			k.Modules = at
		}
	}
	if k.Modules == "" {
		return k, fmt.Errorf("find the modules of kernel %s in %q: there are none", k.Release, dir)
	}
	return k, nil
}

// Module finds a module's file, compressed or not, by its path below "kernel".
func (k Kernel) Module(path string) (string, error) {
	found, err := filepath.Glob(filepath.Join(k.Modules, "kernel", path+".ko*"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("find module %q of kernel %s: %d files", path, k.Release, len(found))
	}
	return found[0], nil
}

func isDir(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && fi.IsDir()
}
