package collector_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/otelcol"

	"github.com/guanlan-io/guanlan/collector"
)

// Every YAML block of the guides is a configuration that loads: one fenced as
// "yaml" by itself, one fenced as "yaml fragment" merged over the default.
func TestConfigurationsOfTheGuidesLoad(t *testing.T) {
	guides, err := filepath.Glob("../docs/guides/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range guides {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := yamlBlocks(string(text))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		found += len(blocks)
		for _, b := range blocks {
			t.Run(fmt.Sprintf("%s:%d", filepath.Base(path), b.line), func(t *testing.T) {
				if err := b.load(t); err != nil {
					t.Error(err)
				}
			})
		}
	}
	if found == 0 {
		t.Error("no YAML block in any guide: is docs/guides where it was?")
	}
}

// The test above means something only if a wrong block is refused.
func TestAWrongBlockIsRefused(t *testing.T) {
	for _, text := range []string{
		"```yaml fragment\nextensions:\n  store:\n    directry: x\n```\n",
		"```yaml fragment\nservice:\n  pipelines:\n    logs:\n      receivers: [nobody]\n```\n",
		"```yaml\nextensions:\n  store:\n```\n", // a fragment that says it is whole
	} {
		blocks, err := yamlBlocks(text)
		if err != nil || len(blocks) != 1 {
			t.Fatalf("%q: got %d blocks, error %v", text, len(blocks), err)
		}
		if blocks[0].load(t) == nil {
			t.Errorf("loaded:\n%s", text)
		}
	}
	if _, err := yamlBlocks("```yml\na: b\n```\n"); err == nil {
		t.Error("a fence that no test would look at was let through")
	}
}

type yamlBlock struct {
	line     int // of the fence
	fragment bool
	text     string
}

// yamlBlocks returns the fenced YAML of a Markdown text.
func yamlBlocks(markdown string) ([]yamlBlock, error) {
	var blocks []yamlBlock
	open := "" // info string of the fence that we are in
	var b yamlBlock
	for i, line := range strings.Split(markdown, "\n") {
		fence, ok := strings.CutPrefix(line, "```")
		switch {
		case ok && open == "":
			if open = strings.TrimSpace(fence); open == "" {
				open = "text"
			}
			if strings.HasPrefix(open, "yml") || strings.HasPrefix(open, "yaml") && open != "yaml" && open != "yaml fragment" {
				return nil, fmt.Errorf("line %d: fence %q: want yaml or yaml fragment", i+1, open)
			}
			b = yamlBlock{line: i + 1, fragment: open == "yaml fragment"}
		case ok:
			if strings.HasPrefix(open, "yaml") {
				blocks = append(blocks, b)
			}
			open = ""
		case open != "":
			b.text += line + "\n"
		}
	}
	if open != "" {
		return nil, errors.New("the last fence does not end")
	}
	return blocks, nil
}

// load checks the block as `guanlan config validate` would.
func (b yamlBlock) load(t *testing.T) error {
	path := filepath.Join(t.TempDir(), "block.yaml")
	if err := os.WriteFile(path, []byte(b.text), 0o600); err != nil {
		return err
	}
	uris := []string{"file:" + path}
	if b.fragment {
		uris = []string{collector.Default, uris[0]}
	}
	col, err := otelcol.NewCollector(collector.Settings(collector.Options{Version: "test", URIs: uris}))
	if err != nil {
		return err
	}
	return col.DryRun(t.Context())
}
