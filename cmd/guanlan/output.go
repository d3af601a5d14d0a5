package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

var outputs = []string{"table", "json"}

// outputFlag adds --output, the choice between a table for people and JSON
// for programs.
func outputFlag(cmd *cobra.Command, output *string) {
	cmd.Flags().StringVarP(output, "output", "o", "table", "output format: table or json")
	if err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("BUG: complete --output: " + err.Error())
	}
	check := cmd.PreRunE
	cmd.PreRunE = func(c *cobra.Command, args []string) error {
		if !slices.Contains(outputs, *output) {
			return usageError{fmt.Errorf("--output %q: want table or json", *output)}
		}
		if check != nil {
			return check(c, args)
		}
		return nil
	}
}

// completes offers values for a flag, which may have descriptions after a tab. A flag
// that takes a list is completed at its end.
func completes(cmd *cobra.Command, flag string, values func() []string) {
	list := cmd.Flags().Lookup(flag).Value.Type() == "stringSlice"
	err := cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		before := ""
		if at := strings.LastIndexByte(begun, ','); list && at >= 0 {
			before = begun[:at+1]
		}
		var out []string
		for _, v := range values() {
			if name, _, _ := strings.Cut(v, "\t"); !list || !slices.Contains(strings.Split(before, ","), name) {
				out = append(out, before+v)
			}
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if list {
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		return out, directive
	})
	if err != nil {
		panic("BUG: complete --" + flag + ": " + err.Error())
	}
}

// printJSON writes v as indented JSON with a final newline.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
