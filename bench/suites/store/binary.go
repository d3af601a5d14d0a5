package main

import (
	"context"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/guanlan-io/guanlan/bench/report"
)

// heaviest is how many modules are named.
const heaviest = 15

// binary measures the program and what weighs in it. The symbols come from a
// second build that keeps them: the one that ships has none.
func (s *run) binary(ctx context.Context) error {
	info, err := os.Stat(s.Guanlan)
	if err != nil {
		return fmt.Errorf("%w (make build makes it)", err)
	}
	stripped, err := isStripped(s.Guanlan)
	if err != nil {
		return err
	}
	const mb = 1e6
	row := report.Row{Part: "binary", Metric: "program, stripped", Subject: "guanlan", Value: float64(info.Size()) / mb, Unit: "MB", Target: "<= 120"}
	if !stripped {
		row.Note = "not stripped: build it with make build"
	}
	s.Report.Add(row)

	path := filepath.Join(s.bin, "guanlan-symbols")
	defer os.Remove(path)
	if err := goBuild(ctx, "build guanlan with symbols", s.Repo, path, "./cmd/guanlan", "remove_all_sd", "", false); err != nil {
		s.Report.Add(report.Row{Part: "binary", Metric: "weight of modules", Subject: "guanlan", Skipped: true, Note: err.Error()})
		return nil
	}
	weights, err := weigh(path)
	if err != nil {
		return err
	}
	names := slices.SortedFunc(maps.Keys(weights), func(a, b string) int { return int(weights[b]) - int(weights[a]) })
	for _, name := range names[:min(heaviest, len(names))] {
		s.Report.Add(report.Row{Part: "binary", Metric: "weighs: " + name, Subject: "guanlan", Value: float64(weights[name]) / mb, Unit: "MB"})
	}
	return nil
}

func isStripped(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close()
	return f.Section(".symtab") == nil && f.Section(".debug_info") == nil && f.Section(".zdebug_info") == nil, nil
}

// weigh adds up the bytes of a program's symbols by module. The line table,
// which no symbol covers, holds names and positions of all functions: modules
// get their parts by the size of their code. The rest counts by section.
func weigh(path string) (map[string]uint64, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read modules of %s: %w", path, err)
	}
	modules := []string{info.Main.Path}
	for _, d := range info.Deps {
		modules = append(modules, d.Path)
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return nil, fmt.Errorf("read symbols of %s: %w", path, err)
	}
	weights, code := map[string]uint64{}, map[string]uint64{}
	var allCode uint64
	covered := map[elf.SectionIndex]uint64{}
	for _, sym := range symbols {
		kind := elf.ST_TYPE(sym.Info)
		if int(sym.Section) >= len(f.Sections) || kind != elf.STT_FUNC && kind != elf.STT_OBJECT {
			continue
		}
		if f.Sections[sym.Section].Type == elf.SHT_NOBITS {
			continue // memory only, not in the file
		}
		module := moduleOf(sym.Name, modules)
		weights[module] += sym.Size
		if kind == elf.STT_FUNC {
			code[module] += sym.Size
			allCode += sym.Size
		}
		covered[sym.Section] += sym.Size
	}
	for i, section := range f.Sections {
		if section.Flags&elf.SHF_ALLOC == 0 || section.Type == elf.SHT_NOBITS {
			continue
		}
		rest := section.FileSize - min(section.FileSize, covered[elf.SectionIndex(i)])
		switch {
		case section.Name == ".gopclntab" && allCode > 0:
			for module, size := range code {
				weights[module] += uint64(float64(rest) * float64(size) / float64(allCode))
			}
		case rest > 0:
			weights["section "+section.Name+", not of one module"] += rest
		}
	}
	return weights, nil
}

// moduleOf is the module of a symbol: the longest module path that its
// package's path begins with, else the standard library.
func moduleOf(symbol string, modules []string) string {
	for _, prefix := range []string{"type:.eq.", "type:.hash.", "type:", "go:itab.", "go:"} {
		symbol = strings.TrimPrefix(symbol, prefix)
	}
	symbol = strings.TrimLeft(symbol, "*[](")
	// Dots of the last element of a path are escaped in symbols.
	symbol = strings.ReplaceAll(symbol, "%2e", ".")
	longest := "standard library and runtime"
	size := 0
	for _, m := range modules {
		if len(m) > size && strings.HasPrefix(symbol, m) && (len(symbol) == len(m) || strings.ContainsRune("/.", rune(symbol[len(m)]))) {
			longest, size = m, len(m)
		}
	}
	return longest
}
