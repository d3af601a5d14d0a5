// Command gen writes runtime.tar.zst of package goroot: what a woven program has
// of ours in it, as packages of the standard library. It reads the modules of the
// SDK and, in the module cache, those that the SDK is built with.
// It runs in the folder of the package: go generate ./internal/weave/goroot
package main

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	log.SetFlags(0)
	out, err := generate(filepath.Join("..", "..", ".."))
	if err != nil {
		log.Fatalf("generate the runtime archive: %v", err)
	}
	if err := os.WriteFile("runtime.tar.zst", out, 0o644); err != nil {
		log.Fatal(err)
	}
}

// bindings are the packages that the weaver merges into the library that they
// are for: they cannot be packages of the standard library.
var bindings = []string{"gin", "grpc", "redis", "zap/internal/fields", "internal/jsonlog"}

// generate returns the archive for the repository at root:
//
//	src/guanlan/…   the packages, with their new import paths
//	fold/sdk/…      the sources of the bindings, and of internal packages that these import, with their own
//	imports         a line "old new" for each import path that has a new one
func generate(root string) ([]byte, error) {
	world, err := load(root)
	if err != nil {
		return nil, err
	}
	for _, name := range bindings {
		if err := world.fold(sdkModule + "/" + name); err != nil {
			return nil, err
		}
	}
	if err := world.close(); err != nil {
		return nil, err
	}
	if err := world.prune(); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	var imports []string
	for path, p := range world.packages {
		to := rewritten(path)
		imports = append(imports, path+" "+to+"\n")
		for name, f := range p.files {
			if files["src/"+to+"/"+name], err = f.source(true, p.note()); err != nil {
				return nil, fmt.Errorf("%s/%s: %w", path, name, err)
			}
		}
	}
	for path, p := range world.folded {
		for name, f := range p.files {
			if files["fold/"+strings.TrimPrefix(path, ownModule+"/")+"/"+name], err = f.source(false, ""); err != nil {
				return nil, fmt.Errorf("%s/%s: %w", path, name, err)
			}
		}
	}
	if err := world.licences(files); err != nil {
		return nil, err
	}
	slices.Sort(imports)
	files["imports"] = []byte(strings.Join(imports, ""))
	return pack(files)
}
