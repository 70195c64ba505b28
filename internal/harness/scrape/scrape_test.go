package scrape

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReadIsStrict(t *testing.T) {
	const good = "# HELP a h\n# TYPE a gauge\na{b=\"c\\\"\",d=\"\"} 1\na 2\n"
	all, err := Read(good)
	require.NoError(t, err)
	require.Equal(t, map[string]float64{Key("a", "b", `c"`, "d", ""): 1, "a": 2}, all)
	for _, bad := range []string{
		"a 1\n", "# TYPE a gauge\na 1\n", "# HELP a h\na 1\n", good + "a 2\n", good + "b 2\n", good + good, "# HELP a h\n# TYPE a gauge\na 1",
		"# HELP a h\n# TYPE a gauge\na{b=c} 1\n", "# HELP a h\n# TYPE a gauge\na{b=\"c\\x\"} 1\n", "# HELP a h\n# TYPE a gauge\na one\n",
		"# HELP a h\n# TYPE a gauge\na_sum 1\n", "# HELP a h\n# TYPE a summary\na 1\n", "# HELP a h\n# TYPE a gauge\na  1\n",
		"# HELP a h\n# TYPE a gauge\n\na 1\n", "# HELP a h\n# HELP b h\n# TYPE b gauge\n", "# HELP a h\n# TYPE a gauge\na{b=\"c\"d=\"e\"} 1\n",
	} {
		_, err := Read(bad)
		require.Error(t, err, "%s", bad)
	}
}
