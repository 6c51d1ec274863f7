// Plugins of JupyterLab, in the form in which it loads prebuilt extensions: a container with
// "init" and "get" (https://webpack.js.org/concepts/module-federation/). It needs no build.
//
// While the server cannot be reached, JupyterLab says so in dialogs, which stay in the way when
// the page has long gone on by itself. This says the same in a notification that goes away.
//
// JupyterLab also gives up the connection to a kernel after seven attempts, which may be over in
// seconds, or waits a minute for the next. This connects as soon as the server is back.
//
// Before a machine goes to sleep because nobody uses it, another one says so.
(() => {
  const SHOWN_MS = 15_000;
  // A request may have failed just before the server was back.
  const LATE_MS = 60_000;
  const RETRY_MS = 200;
  const LOOK_MS = 5_000;
  const ANSWER_MS = 10_000;
  const SLEEP = 'https://anywhere.notebook/events/sleep';
  let shared;

  const load = async name => {
    const [release] = Object.values(shared[name]);
    return (await release.get())();
  };

  const makePlugins = async () => {
    const { Dialog, Notification } = await load('@jupyterlab/apputils');
    const { IConsoleTracker } = await load('@jupyterlab/console');
    const { INotebookTracker } = await load('@jupyterlab/notebook');
    const { ServerConnection } = await load('@jupyterlab/services');

    // What answers in the place of the server, such as a tunnel, may answer with an error, or a page.
    const isReachable = async settings => {
      try {
        const answer = await fetch(`${settings.baseUrl}api`, {
          cache: 'no-store',
          signal: AbortSignal.timeout(ANSWER_MS)
        });
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

    const connection = {
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

    const kernels = {
      id: 'notebook-keeper:kernels',
      description: 'Connects to kernels again as soon as the server is back.',
      autoStart: true,
      optional: [INotebookTracker, IConsoleTracker],
      activate: ({ serviceManager: { serverSettings } }, ...trackers) => {
        const watched = new Set();
        const isLost = ({ connectionStatus, isDisposed }) =>
          connectionStatus !== 'connected' && !isDisposed;
        const watch = async kernel => {
          let wasReachable = true;
          watched.add(kernel);
          while (isLost(kernel)) {
            const reachable = await isReachable(serverSettings);
            // An attempt of JupyterLab's that merely takes long is left alone.
            const isDue = kernel.connectionStatus === 'disconnected' || !wasReachable;
            if (reachable && isDue && isLost(kernel)) {
              // The status tells as well whether it succeeds.
              kernel.reconnect().catch(() => {});
            }
            wasReachable = reachable;
            await new Promise(resolve => setTimeout(resolve, LOOK_MS));
          }
          watched.delete(kernel);
        };
        const add = (_, { sessionContext }) => {
          sessionContext.connectionStatusChanged.connect(({ session }) => {
            const kernel = session?.kernel;
            if (kernel && !watched.has(kernel)) {
              watch(kernel);
            }
          });
        };
        trackers.forEach(tracker => tracker?.widgetAdded.connect(add));
      }
    };

    const sleep = {
      id: 'notebook-keeper:sleep',
      description: 'Says when the machine goes to sleep.',
      autoStart: true,
      activate: ({ restored, serviceManager }) => {
        const { serverSettings, events } = serviceManager;
        const ask = init =>
          ServerConnection.makeRequest(
            `${serverSettings.baseUrl}api/notebook-keeper`,
            init,
            serverSettings
          );
        const keepOn = {
          label: 'Keep it on',
          callback: () => ask({ method: 'POST', body: JSON.stringify({ keep_on: true }) })
        };
        let shown;
        const show = ({ sleeps_at }) => {
          // Without a name all would be dismissed.
          if (shown) {
            Notification.dismiss(shown);
          }
          shown = undefined;
          if (sleeps_at) {
            const time = new Date(sleeps_at).toLocaleTimeString([], { timeStyle: 'short' });
            shown = Notification.warning(
              `Nobody uses this machine. It goes to sleep at ${time}, unless somebody runs a cell.`,
              { actions: [keepOn], autoClose: false }
            );
          }
        };
        events.stream.connect((_, event) => {
          if (event.schema_id === SLEEP) {
            show(event);
          }
        });
        // Before that, a notification is not shown.
        restored
          .then(() => ask({}))
          .then(async answer => {
            // Where output is not kept, the server does not know of this.
            if (answer.ok) {
              show(await answer.json());
            }
          });
      }
    };

    return [connection, kernels, sleep];
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB['notebook-keeper'] = {
    init: scope => {
      shared = scope;
    },
    get: async () => {
      const plugins = await makePlugins();
      return () => ({ __esModule: true, default: plugins });
    }
  };
})();
