// A plugin of JupyterLab, in the form in which it loads prebuilt extensions: a container with
// "init" and "get" (https://webpack.js.org/concepts/module-federation/). It needs no build.
//
// While the server cannot be reached, JupyterLab says so in dialogs, which stay in the way when
// the page has long gone on by itself. This says the same in a notification that goes away.
(() => {
  const SHOWN_MS = 15_000;
  // A request may have failed just before the server was back.
  const LATE_MS = 60_000;
  const RETRY_MS = 200;
  let shared;

  const load = async name => {
    const [release] = Object.values(shared[name]);
    return (await release.get())();
  };

  const makePlugin = async () => {
    const { Dialog, Notification } = await load('@jupyterlab/apputils');

    // What answers in the place of the server, such as a tunnel, may answer with an error, or a page.
    const isReachable = async settings => {
      try {
        const answer = await fetch(`${settings.baseUrl}api`, { cache: 'no-store' });
        return Boolean((await answer.json()).version);
      } catch {
        return false;
      }
    };

    // One that waits for another to be closed cannot be closed yet.
    const close = dialog => {
      if (!dialog.isDisposed) {
        dialog.reject();
        setTimeout(close, RETRY_MS, dialog);
      }
    };

    return {
      id: 'notebook-keeper:connection',
      description: 'Says without a dialog that the server cannot be reached.',
      autoStart: true,
      activate: app => {
        let shownAt = -Infinity;
        let lostAt = -Infinity;
        Dialog.tracker.widgetAdded.connect(async (_, dialog) => {
          // It only tells something; a question has more than one answer.
          const buttons = dialog.node.querySelectorAll('.jp-Dialog-button');
          if (buttons.length !== 1) {
            return;
          }
          if (!(await isReachable(app.serviceManager.serverSettings))) {
            lostAt = Date.now();
          }
          if (Date.now() - lostAt > LATE_MS) {
            return;
          }
          close(dialog);
          if (Date.now() - shownAt > SHOWN_MS) {
            shownAt = Date.now();
            Notification.warning(
              'The server cannot be reached. This page goes on by itself when it is back.',
              { autoClose: SHOWN_MS }
            );
          }
        });
      }
    };
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB['notebook-keeper'] = {
    init: scope => {
      shared = scope;
    },
    get: async () => {
      const plugin = await makePlugin();
      return () => ({ __esModule: true, default: plugin });
    }
  };
})();
