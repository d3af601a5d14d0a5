package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/collector/otelcol"
	"go.yaml.in/yaml/v3"

	"github.com/guanlan-io/guanlan/collector"
)

// sources are the flags that choose a configuration, shared by up and config.
type sources struct {
	files  []string
	set    []string
	data   string
	kernel bool // collector.Kernel over the files
}

func (s *sources) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&s.files, "config", "c", nil, "configuration file, or an embedded one like "+collector.Default+"; repeat to merge, the last wins")
	f.StringArrayVar(&s.set, "set", nil, "set one value, for example --set extensions::query::endpoint=127.0.0.1:8080")
	f.StringVar(&s.data, "data", "", "folder of the data (default ./guanlan-data)")
}

// uris turns the flags into locations for confmap.
func (s *sources) uris() ([]string, error) {
	uris := make([]string, 0, len(s.files)+len(s.set)+1)
	for _, f := range s.files {
		if !strings.Contains(f, ":") {
			if err := readable(f); err != nil {
				return nil, usageError{fmt.Errorf("--config %s: %w", f, err)}
			}
			f = "file:" + f
		}
		uris = append(uris, f)
	}
	if len(uris) == 0 {
		uris = append(uris, collector.Default)
	}
	if s.kernel {
		uris = append(uris, collector.Kernel)
	}
	if s.data != "" {
		uris = append(uris, fmt.Sprintf("yaml:extensions::store::directory: %q", s.data))
	}
	for _, kv := range s.set {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, usageError{fmt.Errorf("--set %q: want KEY=VALUE, for example extensions::store::sync=always", kv)}
		}
		uris = append(uris, "yaml:"+key+": "+value)
	}
	return uris, nil
}

// readable reports what is wrong with a configuration file as such. confmap
// would not say which file it is.
func readable(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var content map[string]any
	return yaml.Unmarshal(text, &content)
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check or print configurations",
	}
	cmd.AddCommand(newConfigValidate(), newConfigPrint())
	return cmd
}

func newConfigValidate() *cobra.Command {
	var from sources
	cmd := &cobra.Command{
		Use:     "validate",
		Short:   "Check a configuration without starting anything",
		Example: "  guanlan config validate --config guanlan.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			uris, err := from.uris()
			if err != nil {
				return err
			}
			col, err := otelcol.NewCollector(collector.Settings(collector.Options{Version: version, URIs: uris}))
			if err != nil {
				return usageError{err}
			}
			if err := col.DryRun(cmd.Context()); err != nil {
				return usageError{explain(inShort(err))}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "configuration is valid")
			return nil
		},
	}
	from.flags(cmd)
	return cmd
}

func newConfigPrint() *cobra.Command {
	return &cobra.Command{
		Use:   "print [NAME]",
		Short: "Print an embedded configuration to start your own from",
		Long: "Print an embedded configuration to start your own from: " + strings.Join(collector.Topologies(), ", ") + `.
Without NAME, the one that runs when no --config is given.`,
		Example:   "  guanlan config print > guanlan.yaml",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: collector.Topologies(),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := collector.Default
			if len(args) == 1 {
				name = args[0]
			}
			text, err := collector.Topology(name)
			if err != nil {
				return usageError{err}
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}
