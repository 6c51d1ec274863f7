// A plugin of JupyterLab and Notebook, in the form in which they load prebuilt extensions: a
// container with "init" and "get" (https://webpack.js.org/concepts/module-federation/). It needs no
// build.
//
// All notebooks look the same, whichever machine they are on. This has the title of the window and
// a word at the top of the page say it, and whether what cells print is kept while nobody looks.
// What it says is in the page's configuration, from notebook_guard and notebook_keeper.
(() => {
  let shared;

  const load = async name => {
    const [release] = Object.values(shared[name]);
    return (await release.get())();
  };

  const makePlugin = async () => {
    const { PageConfig } = await load('@jupyterlab/coreutils');
    const { Widget } = await load('@lumino/widgets');

    const machine = PageConfig.getOption('notebookMachine');
    // Why output is not kept.
    const lost = PageConfig.getOption('notebookOutputLost');

    // JupyterLab has "JupyterLab" or "a.ipynb - JupyterLab", Notebook "Home" or "a".
    const named = title => {
      const page = PageConfig.getOption('notebookPage');
      if (page === 'tree' || title.startsWith(PageConfig.getOption('appName'))) {
        return `${machine} - ${title}`;
      }
      const last = page ? -1 : title.lastIndexOf(' - ');
      return last < 0
        ? `${title} - ${machine}`
        : `${title.slice(0, last)} - ${machine}${title.slice(last)}`;
    };

    const nameWindow = () => {
      let shown;
      const name = () => {
        if (document.title !== shown) {
          document.title = named(document.title);
          shown = document.title;
        }
      };
      name();
      new MutationObserver(name).observe(document.querySelector('title'), { childList: true });
    };

    const makeMark = () => {
      const mark = new Widget({ node: document.createElement('span') });
      const said = lost ? 'output is not kept' : 'output is kept';
      const more = lost
        ? `What cells print while no page is open is lost: ${lost}.`
        : 'What cells print while no page is open is in the notebook when you come back.';
      mark.id = 'notebook-guard-mark';
      mark.node.textContent = `${machine}: ${said}`;
      mark.node.title = `This page belongs to ${machine}. ${more}`;
      mark.node.setAttribute('role', 'note');
      mark.node.setAttribute('aria-label', `${mark.node.textContent}. ${more}`);
      Object.assign(mark.node.style, {
        alignSelf: 'center',
        color: 'var(--jp-ui-font-color1)',
        flex: '0 1 auto',
        fontSize: 'var(--jp-ui-font-size1)',
        minWidth: '0',
        overflow: 'hidden',
        padding: '0 8px',
        textOverflow: 'ellipsis',
        whiteSpace: 'nowrap'
      });
      return mark;
    };

    return {
      id: 'notebook-guard:machine',
      description: 'Says which machine this is, and whether output is kept.',
      autoStart: true,
      activate: app => {
        if (machine) {
          nameWindow();
          app.shell.add(makeMark(), 'top', { rank: 1000 });
        }
      }
    };
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB['notebook-guard'] = {
    init: scope => {
      shared = scope;
    },
    get: async () => {
      const plugin = await makePlugin();
      return () => ({ __esModule: true, default: plugin });
    }
  };
})();
