package pawld

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func packaged(t *testing.T, name string) string {
	data, err := os.ReadFile(filepath.Join("..", "..", "packaging", name))
	require.NoError(t, err)
	return string(data)
}

// The file of settings that is shipped can be used, and so can each line that is commented out.
func TestTheSettingsThatAreShipped(t *testing.T) {
	text := packaged(t, "pawld.yaml")
	out, errs, err := try(t, "--config", file(t, text), "--check-config")
	require.NoError(t, err, errs)
	require.NotEmpty(t, out)
	all := regexp.MustCompile(`(?m)^# ([a-z-]+: |- )`).ReplaceAllString(text, "$1")
	all = strings.NewReplacer("\n- 0.0.0.0", "\n  - 0.0.0.0", "socket-group: pawl", "socket-group: \"0\"").Replace(all)
	o, err := parse([]string{"--config", file(t, all)}, &strings.Builder{}, nil)
	require.NoError(t, err)
	require.Len(t, o.api.Listen, 2)
	require.Equal(t, "/etc/pawl/node.crt", o.api.Access.Cert)
	require.Equal(t, "json", o.settings["log-format"])
}
